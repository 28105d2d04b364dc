"""The shop's command line: `python -m vivr_shop schema | fill | digest | traffic`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import psycopg

from .digest import digests
from .generate import fill
from .migrations import HISTORY, apply_migrations
from .traffic.run import Settings, run
from .urls import without_prisma_parameters

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 when all was done, 1 with one line on stderr when it was not."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except (psycopg.Error, OSError, ValueError) as error:
        sys.stderr.write(f"error: {str(error).strip()}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vivr_shop", description=__doc__)
    commands = parser.add_subparsers(required=True)
    schema = commands.add_parser("schema", help="apply the migrations plainly, without a ledger")
    schema.add_argument("url")
    schema.add_argument("--folder", type=Path, default=HISTORY)
    schema.set_defaults(command=_schema)
    filling = commands.add_parser("fill", help="fill the migrated, empty shop")
    filling.add_argument("url")
    filling.add_argument("--orders", type=int, required=True)
    filling.add_argument("--seed", type=int, default=1)
    filling.set_defaults(command=_fill)
    digest = commands.add_parser("digest", help="print a SHA-256 for every table")
    digest.add_argument("url")
    digest.set_defaults(command=_digest)
    _add_traffic(commands.add_parser("traffic", help="shop until stopped, and log every acknowledged commit"))
    return parser


def _add_traffic(traffic: argparse.ArgumentParser) -> None:
    traffic.add_argument("--url-file", type=Path, required=True, help="holds the URL; read again at every connect")
    traffic.add_argument("--log", type=Path, required=True, help="a new file for the commits")
    traffic.add_argument("--old", type=int, default=2, help="shoppers of the old version")
    traffic.add_argument("--new", type=int, default=0, help="shoppers of the new version")
    traffic.add_argument("--seconds", type=float, help="stop after so long")
    traffic.add_argument("--rate", type=float, default=20.0, help="actions a second of each shopper; 0 is no limit")
    traffic.add_argument("--shoppers-file", type=Path, help='{"old": 2, "new": 2}, read again every 200 ms')
    traffic.set_defaults(command=_traffic)


def _schema(options: argparse.Namespace) -> None:
    with psycopg.connect(without_prisma_parameters(options.url), autocommit=True) as connection:
        for name in apply_migrations(connection, options.folder):
            sys.stdout.write(f"{name}\n")


def _fill(options: argparse.Namespace) -> None:
    began = time.monotonic()
    with psycopg.connect(without_prisma_parameters(options.url)) as connection:
        counts = fill(connection, orders=options.orders, seed=options.seed)
    seconds = time.monotonic() - began
    sys.stdout.write(
        f"{counts.orders} orders, {counts.total} rows, {seconds:.1f} s, {counts.orders / seconds:.0f} orders/s\n"
    )


def _digest(options: argparse.Namespace) -> None:
    with psycopg.connect(without_prisma_parameters(options.url)) as connection:
        for table, digest in digests(connection).items():
            sys.stdout.write(f"{digest}  {table}\n")


def _traffic(options: argparse.Namespace) -> None:
    stop = Event()

    def leave(_number: int, _frame: object) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    settings = Settings(
        url_file=options.url_file,
        log=options.log,
        old=options.old,
        new=options.new,
        seconds=options.seconds,
        rate=options.rate,
        shoppers_file=options.shoppers_file,
    )
    run(settings, stop)


if __name__ == "__main__":
    sys.exit(main())
