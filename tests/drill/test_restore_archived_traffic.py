"""Exact instants under traffic, of a cluster that only ever archived: judged by the order of commits in WAL."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

import archiving
from archiving import archive_by
from backups import DATABASE, restored, take_backup, whole_coverage
from random_seconds import SETTINGS, Ending, endings_of
from safepoint.model.backup import BackupManifest
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.connect import connect
from safepoint.repository import Repository

pytestmark = pytest.mark.pg("18")
WRITERS = 4
SEGMENTS = 3
SECONDS = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A repository with a backup, and every end of a transaction in the order of WAL."""

    directory: Path
    repository: Repository
    backup: BackupManifest
    endings: Sequence[Ending]

    def promised(self) -> tuple[datetime, datetime]:
        """The first and the newest instant that can be restored."""
        (interval,) = whole_coverage(self.repository, self.backup.system_identifier).intervals
        assert interval.latest is not None
        return interval.earliest, interval.latest

    def rows_at(self, instant: datetime) -> set[int]:
        """What a restore to the instant must hold."""
        kept = itertools.takewhile(lambda ending: ending.at <= instant, self.endings)
        return {ending.row for ending in kept if ending.row is not None}

    def restored_rows(self, instant: datetime, name: str) -> set[int]:
        """What it does hold."""
        with restored(self.repository, self.backup, self.directory / name, instant.isoformat()) as copy:
            return {row[0] for row in copy.execute("SELECT id FROM rows").fetchall()}


@pytest.fixture(scope="module")
def scene(major: int) -> Generator[Scene]:
    """Traffic over some segments, pushed inline, and more of it that is never archived."""
    with archiving.private_directory() as directory, archiving.archiving_server(directory, major, SETTINGS) as cluster:
        repository, helper = archiving.new_repository(directory), archiving.c_helper(directory)
        config = directory / "safepoint.toml"
        config.write_text(
            f'[database.{DATABASE}]\nurl = "{cluster.url().reveal()}"\n'
            f'[repository.main]\nurl = "file:{directory}/repository"\nkey = "none"\n'
        )
        with connect(cluster.url()) as connection:
            connection.execute("CREATE TABLE rows (id bigint PRIMARY KEY, filler text)")
            archive_by(connection, f"{helper} push %p --socket {directory}/nobody --config {config}")
            backup = take_backup(cluster.url(), repository)
            with _traffic(cluster):
                for _ in range(SEGMENTS):
                    time.sleep(SECONDS)
                    connection.execute("SELECT pg_switch_wal()")
                archiving.wait_until_archived(cluster)
            endings = endings_of(cluster, connection)
        yield Scene(directory=directory, repository=archiving.reopened(directory), backup=backup, endings=endings)


def test_commits_that_overtook_each_other_are_where_wal_has_them(scene: Scene) -> None:
    """At the greatest step back in WAL: recovery stops at the later one, and what comes behind is out."""
    first, last = scene.promised()
    pairs = [pair for pair in itertools.pairwise(scene.endings) if first <= pair[1].at and pair[0].at < last]
    later, earlier = max(pairs, key=lambda pair: pair[0].at - pair[1].at)

    assert scene.restored_rows(earlier.at, "overtaken") == scene.rows_at(earlier.at)
    assert len(scene.rows_at(later.at)) >= len(scene.rows_at(earlier.at)) > 10


def test_an_instant_between_two_commits_amid_segments_is_exact(scene: Scene) -> None:
    """Half way through what is promised."""
    first, last = scene.promised()
    instant = first + (last - first) / 2

    assert scene.restored_rows(instant, "between") == scene.rows_at(instant)


def test_the_newest_instant_has_all_that_was_acknowledged_by_then(scene: Scene) -> None:
    """And nothing that stands behind the WAL held, though the server went on."""
    _, last = scene.promised()

    rows = scene.restored_rows(last, "newest")

    assert rows <= scene.rows_at(last)
    assert len(scene.rows_at(last) - rows) < WRITERS, "at most what other sessions had begun to commit"
    assert scene.endings[-1].at > last


@contextmanager
def _traffic(cluster: Cluster) -> Generator[None]:
    stopped = threading.Event()
    threads = [threading.Thread(target=_write, args=[cluster, number, stopped]) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _write(cluster: Cluster, number: int, stopped: threading.Event) -> None:
    with connect(cluster.url()) as connection:
        for count in itertools.takewhile(lambda _: not stopped.is_set(), itertools.count()):
            connection.execute("INSERT INTO rows VALUES (%s, repeat('x', 50))", [count * WRITERS + number])
