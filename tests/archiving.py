"""What tests of archive_command share: helpers as programs, pushers in threads and processes, servers that archive."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

import safepoint
import servers
from safepoint.backup.archive.archive import WalArchive
from safepoint.backup.archive.data_directory import DataDirectory
from safepoint.backup.archive.pusher import Pusher
from safepoint.errors import SafepointError
from safepoint.postgres.cluster import Cluster
from safepoint.repository import Repository, create_repository, open_repository
from safepoint.stores import open_store

SOURCE = Path(safepoint.__file__).with_name("backup") / "archive"
CODE = Path(safepoint.__file__).parents[1]

ARCHIVING: Mapping[str, str] = {
    "archive_mode": "on",
    "archive_command": "false",
    "wal_level": "replica",
    "min_wal_size": "32MB",
    "max_wal_size": "1GB",
}


_PATIENCE_SECONDS = 30.0


def new_repository(directory: Path, name: str = "repository") -> Repository:
    """A repository in a folder below `directory`, without encryption."""
    return create_repository(open_store(f"file:{directory / name}"), None)


def reopened(directory: Path, name: str = "repository") -> Repository:
    """The same repository as another process sees it."""
    return open_repository(open_store(f"file:{directory / name}"), None)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Returns when it is so; fails after half a minute."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@contextmanager
def private_directory() -> Generator[Path]:
    """A fresh directory, closed to all others, so that servers and pushers run as one user; gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="spa-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def c_helper(directory: Path) -> Path:
    """The helper compiled, with `safepoint` beside it; skips where there is no compiler."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler; enable with: apt-get install gcc")
    program = directory / "safepoint-wal"
    subprocess.run(["cc", "-std=gnu11", "-O2", "-o", program, SOURCE / "safepoint_wal.c"], check=True)
    _script(directory / "safepoint", '-c "from safepoint.cli import main; main()"')
    return program


def python_helper(directory: Path) -> Path:
    """The helper in Python, as a program."""
    return _script(directory / "safepoint-wal-python", "-m safepoint.backup.archive.helper")


def _script(path: Path, arguments: str) -> Path:
    path.write_text(f'#!/bin/sh\nPYTHONPATH={CODE} exec {sys.executable} {arguments} "$@"\n')
    path.chmod(0o755)
    return path


@contextmanager
def archiving_server(directory: Path, major: int, settings: Mapping[str, str] | None = None) -> Generator[Cluster]:
    """A server that archives by a command that fails, until `archive_by` gives it another."""
    with servers.serving(directory, major, {**ARCHIVING, **(settings or {})}) as cluster:
        yield cluster


def archive_by(connection: Connection[Any], command: str) -> None:
    """From now on the server archives by this command."""
    escaped = command.replace("'", "''")
    connection.execute(f"ALTER SYSTEM SET archive_command = '{escaped}'")  # type: ignore[arg-type] - our own text
    connection.execute("SELECT pg_reload_conf()")


def switch(connection: Connection[Any], count: int = 1) -> None:
    """So many segments more are complete."""
    for _ in range(count):
        connection.execute("SELECT pg_logical_emit_message(true, 'test', 'x')")
        connection.execute("SELECT pg_switch_wal()")


def waiting(cluster: Cluster) -> list[str]:
    """The files that wait to be archived."""
    return DataDirectory(path=cluster.data).ready()


def archived(cluster: Cluster) -> list[str]:
    """The files that the server was told are archived."""
    return sorted(path.stem for path in (cluster.data / "pg_wal/archive_status").glob("*.done"))


def wait_until_archived(cluster: Cluster) -> None:
    """Nothing waits any more."""
    wait_until(lambda: not waiting(cluster))


class Watcher:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.errors: list[SafepointError] = []

    def acknowledged(self, name: str) -> None:
        self.names.append(name)

    def troubled(self, error: SafepointError) -> None:
        self.errors.append(error)

    @property
    def codes(self) -> set[str]:
        return {error.spec.code for error in self.errors}


@contextmanager
def pushing(
    served: Cluster | DataDirectory, path: Path, *repositories: Repository, jobs: int = 2
) -> Generator[Watcher]:
    """A pusher in a thread, inside the context; its socket goes with it."""
    data = DataDirectory(path=served.data) if isinstance(served, Cluster) else served
    watcher = Watcher()
    archive = WalArchive(data=data, origin=data.origin(), repositories=repositories)
    pusher = Pusher(archive=archive, path=path, observer=watcher, jobs=jobs)
    thread = threading.Thread(target=pusher.run)
    thread.start()
    try:
        wait_until(path.is_socket)
        yield watcher
    finally:
        pusher.stop.set()
        thread.join(30)
    assert not thread.is_alive()
    assert not path.exists()
