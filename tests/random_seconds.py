"""A server under recorded traffic with idle stretches and a clock that is set back, archived; and what was when."""

from __future__ import annotations

import itertools
import os
import random
import re
import subprocess
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg import Connection

import servers
from backups import flushed, server_clock, wait_until, whole_coverage
from fake_clock import FakeClock
from restoring import writing
from safepoint.model.coverage import Coverage
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.connect import connect
from safepoint.repository import open_repository
from safepoint.stores import open_store
from shell import Shell, shell_in

SETTINGS = {
    "track_commit_timestamp": "on",
    "synchronous_commit": "on",
    "wal_keep_size": "4GB",
    "log_min_messages": "fatal",
}
BACK = timedelta(seconds=-40)
WRITERS = 3
_ENDING = re.compile(r"tx:\s+(\d+),.* desc: (?:COMMIT|ABORT) (\S+ \S+) UTC")


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a transaction as WAL has it: when, and the row it inserted, None of an abort or another's commit."""

    at: datetime
    row: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A server that is lost, its repository, and every end of a transaction in the order of WAL."""

    shell: Shell
    root: Path
    endings: tuple[Ending, ...]

    def rows_at(self, instant: datetime) -> set[int]:
        """What a restore to the instant must hold: PostgreSQL stops at the first end of a transaction after it."""
        kept = itertools.takewhile(lambda ending: ending.at <= instant, self.endings)
        return {ending.row for ending in kept if ending.row is not None}

    def coverage(self) -> Coverage:
        """What the repository says can be restored."""
        repository = open_repository(open_store(f"file:{self.root / 'repository'}"), None)
        (cluster,) = {backup.system_identifier for backup in repository.backups()}
        return whole_coverage(repository, cluster)

    def random_instants(self, count: int, chance: random.Random) -> list[datetime]:
        """Instants that coverage promises, with their microseconds: evenly in time, one in five that of a commit."""
        intervals = [(found.earliest, found.latest) for found in self.coverage().intervals if found.latest is not None]
        first = min(earliest for earliest, _ in intervals)
        last = max(latest for _, latest in intervals)
        commits = [ending.at for ending in self.endings if first <= ending.at <= last and ending.row is not None]
        return [
            chance.choice(commits) if number % 5 == 4 else first + (last - first) * chance.random()
            for number in range(count)
        ]


@contextmanager
def recorded(major: int, clock: FakeClock | None, root: Path, *, seconds: float) -> Generator[Recorded]:
    """A scene of about so many seconds of traffic, made by the commands that a team has."""
    shell = _project(root)
    worn = clock.worn() if clock is not None else _nothing()
    with worn, servers.serving(root, major, SETTINGS) as primary:
        shell = shell.knowing(DATABASE_URL=primary.url("postgres").reveal())
        with connect(primary.url("postgres")) as connection:
            connection.execute("CREATE TABLE rows (id bigint PRIMARY KEY, filler text)")
            shell.safepoint("repository", "init")
            with shell.begun("wal", "stream", "--ship-every", "0.3") as receiver:
                _live(primary, shell, clock, seconds)
                _until_archived(root, connection)
                receiver.terminate()
                receiver.wait()
            endings = endings_of(primary, connection)
    yield Recorded(shell=shell, root=root, endings=endings)


def endings_of(primary: Cluster, connection: Connection[Any]) -> tuple[Ending, ...]:
    """Every end of a transaction in the order of WAL by pg_waldump, checked against the server's commit timestamps."""
    inserted = connection.execute("SELECT xmin::text, id, pg_xact_commit_timestamp(xmin) FROM rows").fetchall()
    rows = {transaction: (row, at.astimezone(UTC)) for transaction, row, at in inserted}
    found: list[Ending] = []
    for transaction, at in _dumped(primary, connection):
        row, stamped = rows.pop(transaction, (None, at))
        assert stamped == at, f"found {at} in WAL, expected the server's {stamped}"
        found.append(Ending(at=at, row=row))
    assert not rows, f"found no end of {len(rows)} transactions in WAL"
    return tuple(found)


def steps_back(endings: Iterable[Ending]) -> timedelta:
    """The longest way back from one end of a transaction to the next in WAL."""
    pairs = itertools.pairwise(ending.at for ending in endings)
    return max((one - other for one, other in pairs), default=timedelta())


def pauses(endings: Sequence[Ending], of: timedelta) -> int:
    """How often nothing ended for so long."""
    return sum(other.at - one.at >= of for one, other in itertools.pairwise(endings))


def _project(root: Path) -> Shell:
    shell = shell_in(root / "project")
    shell.write(
        "safepoint.toml",
        f'[database.shop]\nurl = "env:DATABASE_URL"\n\n[repository.main]\nurl = "file:{root / "repository"}"\n'
        'key = "none"\n\n[wal.shop]\nkeep = "35d"\n\n[tier.daily]\nkeep = "30d"\nkind = "physical"\n'
        'repository = ["main"]\n',
    )
    return shell


def _live(primary: Cluster, shell: Shell, clock: FakeClock | None, seconds: float) -> None:
    """Backups amid traffic; then quiet, traffic again, a clock set back, traffic, the clock right again, quiet."""
    with _traffic(primary):
        time.sleep(seconds / 6)
        _back_up(shell)
        time.sleep(seconds / 6)
    time.sleep(seconds / 6)
    with _traffic(primary):
        time.sleep(seconds / 6)
        _set(clock, BACK)
        time.sleep(seconds / 6)
        _back_up(shell)
        time.sleep(seconds / 12)
        _set(clock, timedelta())
        time.sleep(seconds / 12)
    time.sleep(seconds / 12)


def _back_up(shell: Shell) -> None:
    shell.safepoint("backup", "--tier", "daily")


def _set(clock: FakeClock | None, ahead: timedelta) -> None:
    if clock is not None:
        clock.set(ahead)


@contextmanager
def _nothing() -> Generator[None]:
    yield


@contextmanager
def _traffic(primary: Cluster) -> Generator[None]:
    """Writers that insert one row a transaction, some of which stay open for a while, and roll a few back."""
    with writing(WRITERS, lambda number, stopped: _write(primary, number, stopped)):
        yield


def _write(primary: Cluster, number: int, stopped: threading.Event) -> None:
    chance = random.Random(number)
    with connect(primary.url("postgres")) as connection:
        for _ in itertools.takewhile(lambda _: not stopped.is_set(), itertools.count()):
            row = (time.monotonic_ns() // 1000) * 10 + number
            end = "ROLLBACK" if chance.random() < 0.05 else "COMMIT"
            connection.execute("BEGIN")
            connection.execute("INSERT INTO rows VALUES (%s, repeat('x', 100))", [row])
            time.sleep(chance.choice((0, 0, 0, 0.002, 0.01)))
            connection.execute(end)


def _until_archived(root: Path, connection: Connection[Any]) -> None:
    """A mark that is younger than now, of the server's clock, and all of its WAL are in the repository."""
    end, shown_at = flushed(connection), server_clock(connection)
    repository = open_repository(open_store(f"file:{root / 'repository'}"), None)
    (cluster,) = {backup.system_identifier for backup in repository.backups()}

    def is_archived() -> bool:
        marks = [repository.read_mark(piece) for piece in repository.wal_pieces(cluster)]
        return any(mark is not None and mark.lsn >= end and mark.clock > shown_at for mark in marks)

    wait_until(is_archived)


def _dumped(primary: Cluster, connection: Connection[Any]) -> Generator[tuple[str, datetime]]:
    segments = sorted(path.name for path in (primary.data / "pg_wal").iterdir() if len(path.name) == 24)
    last = connection.execute("SELECT pg_walfile_name(pg_current_wal_lsn())").fetchone()
    assert last is not None
    dump = subprocess.run(
        [primary.binaries.program("pg_waldump"), "-r", "Transaction", segments[0], last[0]],
        cwd=primary.data / "pg_wal",
        capture_output=True,
        text=True,
        check=False,  # it ends where WAL ends, and says so
        env={**os.environ, "TZ": "UTC", "LD_PRELOAD": ""},
    )
    for line in dump.stdout.splitlines():
        if (found := _ENDING.search(line)) is not None:
            yield found[1], datetime.fromisoformat(f"{found[2]}+00:00")
