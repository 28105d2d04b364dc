"""A primary that was lost, what it had committed, and restores of it that are stopped or disturbed."""

from __future__ import annotations

import itertools
import subprocess
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from backups import DATABASE, newest_mark, reopened
from safepoint.backup.durable import durable_up_to
from safepoint.model.backup import BackupManifest
from safepoint.model.lsn import Lsn
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.connect import connect
from safepoint.repository import Repository
from safepoint.steps.execute import Run, Silence
from safepoint.workflows.restore import Restore, Source, Wish, prepare

SETTINGS = {
    "track_commit_timestamp": "on",
    "synchronous_commit": "on",
    "archive_mode": "on",
    "archive_command": "true",
}
WRITERS = 4
EIGHTEEN = pytest.mark.pg("18")


@dataclass(frozen=True, slots=True)
class Commit:
    """A transaction as the server recorded it: its row, its commit time, in the order of WAL."""

    row: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Scene:
    """A primary that was backed up under traffic, its WAL streamed, then lost."""

    root: Path
    backup: BackupManifest
    commits: tuple[Commit, ...]
    end: Lsn

    @property
    def repository(self) -> Repository:
        """As a process that knows nothing but its place opens it."""
        return reopened(self.root)

    def rows_at(self, instant: datetime) -> set[int]:
        """The rows that a restore to the instant must hold: recovery stops at the first later commit in WAL."""
        kept = itertools.takewhile(lambda commit: commit.at <= instant, self.commits)
        return {commit.row for commit in kept}


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """A primary that runs and was backed up, its WAL received."""

    root: Path
    cluster: Cluster
    repository: Repository
    backup: BackupManifest

    def prepare(self, into: Path | str, **wish: object) -> Restore:
        """The restore planned; a relative place is below the root."""
        source = Source(repository=self.repository, database=DATABASE, primary=self.cluster.url())
        return prepare(source, Wish(**wish), self.root / into)  # type: ignore[arg-type]

    def carry_out(self, into: Path | str, **wish: object) -> Run:
        """The restore done."""
        return self.prepare(into, **wish).execute(Silence())


def durable(repository: Repository, backup: BackupManifest) -> Lsn:
    return durable_up_to(repository, backup.system_identifier, backup.timeline, backup.start_lsn)


def is_marked(repository: Repository, backup: BackupManifest, instant: datetime) -> bool:
    mark = newest_mark(repository, backup.system_identifier)
    return mark is not None and mark.clock > instant


@contextmanager
def traffic(primary: Cluster) -> Generator[None]:
    """Writers that insert one row a transaction, each from its own range of ids."""

    def write(number: int, stopped: threading.Event) -> None:
        with connect(primary.url()) as connection:
            for row in itertools.count(number * 1_000_000):
                if stopped.is_set():
                    return
                connection.execute("INSERT INTO rows VALUES (%s, repeat('x', 200))", [row])

    with writing(WRITERS, write):
        yield


@contextmanager
def writing(writers: int, write: Callable[[int, threading.Event], None]) -> Generator[None]:
    """So many threads that write, each given its number and the event upon which it ends."""
    stopped = threading.Event()
    threads = [threading.Thread(target=write, args=[number, stopped]) for number in range(writers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def recorded_commits(connection: Connection[Any], primary: Cluster) -> tuple[Commit, ...]:
    """Every inserted row in the order of its commit record in WAL, by pg_waldump; times as the server recorded them."""
    rows = connection.execute("SELECT xmin::text, id, pg_xact_commit_timestamp(xmin) FROM rows").fetchall()
    by_transaction = {row[0]: Commit(row=row[1], at=row[2].astimezone(UTC)) for row in rows}
    segments = sorted(path.name for path in (primary.data / "pg_wal").iterdir() if len(path.name) == 24)
    last = connection.execute("SELECT pg_walfile_name(pg_current_wal_lsn())").fetchone()
    assert last is not None
    dump = subprocess.run(
        [primary.binaries.program("pg_waldump"), "-r", "Transaction", segments[0], last[0]],
        cwd=primary.data / "pg_wal",
        capture_output=True,
        text=True,
        check=False,
    )
    order = [line.split("tx:")[1].split(",")[0].strip() for line in dump.stdout.splitlines() if "desc: COMMIT" in line]
    found = tuple(by_transaction[transaction] for transaction in order if transaction in by_transaction)
    assert len(found) == len(rows)
    return found


def ids(connection: Connection[Any]) -> set[int]:
    return {row[0] for row in connection.execute("SELECT id FROM rows").fetchall()}
