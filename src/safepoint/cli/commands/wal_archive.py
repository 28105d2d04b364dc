"""`safepoint wal archive` and `safepoint wal push`."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from safepoint.cli.options import ConfigOption, DatabaseArgument
from safepoint.cli.printable import line
from safepoint.cli.show import show_error, talk
from safepoint.cli.stopping import stop_on_signals
from safepoint.errors import SafepointError
from safepoint.workflows.project import load_project

_TELL_SECONDS = 10.0
_RETRY = 1

SocketOption = Annotated[
    str | None,
    typer.Option(
        "--socket",
        metavar="PATH",
        help="Where pusher and helper meet; by default $SAFEPOINT_WAL_SOCKET, else a place in this user's state.",
    ),
]
DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="The data directory; by default the strategy's `data`.")
]


def archive(
    database: DatabaseArgument = None,
    data: DataOption = None,
    socket: SocketOption = None,
    jobs: Annotated[int, typer.Option(min=1, max=16, metavar="N", help="Segments pushed at the same time.")] = 2,
    print_command: Annotated[
        bool, typer.Option("--print-command", help="Print the line for postgresql.conf and stop.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Answer PostgreSQL's archive_command until interrupted, and push WAL before it asks.

    `safepoint-wal push %p`, the command itself, is answered only when every required repository holds that very file.
    """
    from safepoint.workflows.archive import archive_command, archive_lines, prepare_archive  # noqa: PLC0415 - see `push`

    project = load_project(config)
    if print_command:
        typer.echo(archive_command(project, database, data=data, socket=socket, config=config), nl=False)
        return
    stop = threading.Event()
    stop_on_signals(stop)
    teller = _Teller()
    job = prepare_archive(project, database, data=data, socket=socket, jobs=jobs, stop=stop, observer=teller)
    for told in archive_lines(project, database):
        talk.print(line(told))
    talk.print(f"listening at {job.pusher.path}", soft_wrap=True)
    job.run()
    talk.print(f"stopped; acknowledged {teller.count} files")


def push(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As PostgreSQL names it, from the data directory.")],
    database: Annotated[str | None, typer.Option("--database", metavar="NAME", help="As in the strategy file.")] = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Archive one file without a pusher: what `safepoint-wal push` does when none listens.

    The exit code is 0 or 1: above 125 it would end PostgreSQL's archiver.
    """
    del socket
    from safepoint.workflows.push import push_file  # noqa: PLC0415 - the archiver waits: nothing is imported early

    try:
        push_file(load_project(config), database, file)
    except SafepointError as error:
        show_error(error, is_json=False)
        raise typer.Exit(_RETRY) from error
    except KeyboardInterrupt:
        raise typer.Exit(_RETRY) from None


class _Teller:
    """Tells what was acknowledged, every ten seconds at most, and every trouble once until something went well."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()
        self._told = 0.0
        self._trouble = ""

    def acknowledged(self, name: str) -> None:
        """A line, if the last one is old enough."""
        with self._lock:
            self.count += 1
            self._trouble = ""
            now = time.monotonic()
            if now - self._told < _TELL_SECONDS:
                return
            self._told = now
        talk.print(f"{name} is durable; {self.count} files acknowledged")

    def troubled(self, error: SafepointError) -> None:
        """The error; PostgreSQL keeps the file and asks again."""
        with self._lock:
            is_known, self._trouble = str(error) == self._trouble, str(error)
        if not is_known:
            show_error(error, is_json=False)
