"""A PostgreSQL server for the shop's tests, and databases with the migrated shop in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg
import pytest

from vivr_shop.generate import fill
from vivr_shop.migrations import apply_migrations

CONFIGURATION = """
listen_addresses = ''
fsync = off
track_commit_timestamp = on
max_connections = 50
synchronous_standby_names = 'nobody'
synchronous_commit = local
"""
"""A commit waits for ever where a database sets synchronous_commit = on: there is no standby of that name."""

TEMPLATE = "shop_template"
SOLD = "shop_sold"
ORDERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A scratch cluster that listens on a socket in its own folder."""

    folder: Path
    binaries: Path

    def run(self, program: str, *arguments: str) -> None:
        """The program has ended well; as root it ran in a user namespace, because PostgreSQL refuses uid 0."""
        other = ["unshare", "-U", "--map-user=65534", "--map-group=65534"] if os.getuid() == 0 else []
        command = [*other, str(self.binaries / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)

    def start(self) -> None:
        self.run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", f"-k {self.folder}", "start")

    def stop(self, mode: str = "immediate") -> None:
        self.run("pg_ctl", "-D", "data", "-w", "-m", mode, "stop")

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"


def make_server(folder: Path) -> Server:
    """A running cluster of the newest installed major."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not found:
        pytest.skip("found no server below /usr/lib/postgresql")
    server = Server(folder=folder, binaries=found[-1])
    server.run("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    (folder / "data" / "postgresql.auto.conf").write_text(CONFIGURATION)
    server.start()
    return server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One cluster for all tests, with an empty shop and one of 400 orders to copy from."""
    folder = Path(tempfile.mkdtemp(prefix="shop-"))
    server = make_server(folder)
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}".encode())
        with psycopg.connect(server.url(TEMPLATE), autocommit=True) as empty:
            apply_migrations(empty)
        connection.execute(f"CREATE DATABASE {SOLD} TEMPLATE {TEMPLATE}".encode())
        with psycopg.connect(server.url(SOLD)) as sold:
            fill(sold, orders=ORDERS)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def new_shop(server: Server) -> Callable[..., str]:
    """Makes a database with a migrated shop, empty unless told otherwise, and returns its URL."""

    def create(*, is_filled: bool = False) -> str:
        name = f"shop_{next(_numbers)}"
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {SOLD if is_filled else TEMPLATE}".encode())
        return server.url(name)

    return create


_numbers = count(1)
