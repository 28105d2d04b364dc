"""Backups that ask WAL summaries what has changed: equal to a full read, by either source, after any work."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

import servers
from incremental_work import (
    differences,
    execute,
    make_tables,
    new_repository,
    summarized_cluster,
    take,
    work,
)
from plain_copies import connected_copy
from safepoint.model.backup import BackupManifest, BackupSource, Detection
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.connect import connect
from safepoint.repository import Repository

BOTH = pytest.mark.parametrize("source", list(BackupSource), ids=lambda source: source.value)


@dataclass(frozen=True)
class Worked:
    """A server after two turns of work, and what was taken of it before, between and after, by source."""

    cluster: Cluster
    repositories: dict[BackupSource, Repository]
    backups: dict[BackupSource, list[BackupManifest]]
    wrong: dict[BackupSource, list[str]]


@pytest.fixture(scope="module")
def worked(major: int) -> Generator[Worked]:
    """One server for all tests here; nobody works on it while it is backed up, so that disk and backup can be equal."""
    with servers.server_directory() as root, summarized_cluster(root, major) as cluster:
        elsewhere = root / "elsewhere"
        cluster.user.make_directory(elsewhere)
        repositories = {source: new_repository(_made(root / source.value)) for source in BackupSource}
        backups: dict[BackupSource, list[BackupManifest]] = {source: [] for source in BackupSource}
        wrong: dict[BackupSource, list[str]] = {source: [] for source in BackupSource}
        with connect(cluster.url()) as connection:
            make_tables(connection, elsewhere)
            for turn in range(3):
                if turn:
                    work(connection, turn)
                for source in BackupSource:
                    backup = take(cluster, repositories[source], source)
                    backups[source].append(backup)
                    wrong[source] += differences(repositories[source], backup, cluster)
        yield Worked(cluster, repositories, backups, wrong)


def _made(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.pg(">= 17")
@BOTH
def test_after_any_work_an_incremental_backup_is_what_a_full_read_is(worked: Worked, source: BackupSource) -> None:
    """Updates, truncation, databases, bulk loads, tablespaces, rewrites: every main fork is on disk, byte for byte."""
    assert [(backup.detection, backup.detection_reason) for backup in worked.backups[source]] == [
        (Detection.READ, "there is no parent backup to build upon"),
        (Detection.SUMMARIES, ""),
        (Detection.SUMMARIES, ""),
    ]
    assert [backup.share for backup in worked.backups[source]] == [0, 1, 2]
    assert worked.wrong[source] == []


@pytest.mark.pg(">= 17")
@BOTH
def test_a_copy_of_an_incremental_backup_runs(worked: Worked, source: BackupSource, server_root: Path) -> None:
    """With its tablespace, its new databases, and every row."""
    newest = worked.backups[source][-1]
    query = "SELECT count(*), sum(id) FROM {}".format
    with connect(worked.cluster.url()) as connection:
        expected = [connection.execute(query(table).encode()).fetchone() for table in ("mixed", "far", "shrinking")]

    with connected_copy(worked.repositories[source], newest, server_root / "copy") as copy:
        found = [copy.execute(query(table).encode()).fetchone() for table in ("mixed", "far", "shrinking")]
        databases = {row[0] for row in copy.execute("SELECT datname FROM pg_database").fetchall()}

    assert found == expected
    assert {"by_log_1", "by_log_2", "by_copy_2"} <= databases
    assert not {"doomed", "by_copy_1"} & databases
    assert [space.name for space in newest.tablespaces] == ["elsewhere"]


@pytest.mark.pg(">= 17")
@BOTH
def test_what_an_incremental_backup_adds_is_what_changed(worked: Worked, source: BackupSource) -> None:
    """A backup of a server at rest adds next to nothing."""
    repository = worked.repositories[source]
    take(worked.cluster, repository, source)

    idle = take(worked.cluster, repository, source)

    assert idle.detection is Detection.SUMMARIES
    assert idle.added_bytes < worked.backups[source][0].added_bytes / 50


@pytest.mark.pg("18")
@BOTH
def test_rows_deleted_after_a_freeze_stay_deleted(server_root: Path, source: BackupSource) -> None:
    """WAL summaries do not tell of cleared visibility bits: an index-only scan would count what is gone."""
    repository = new_repository(server_root)
    with summarized_cluster(server_root, 18) as cluster:
        execute(
            cluster,
            "CREATE EXTENSION pg_visibility",
            "CREATE TABLE rows AS SELECT generate_series(1, 50000) AS id",
            "ALTER TABLE rows ADD PRIMARY KEY (id)",
            "VACUUM (FREEZE, ANALYZE) rows",
        )
        take(cluster, repository, source)
        execute(cluster, "DELETE FROM rows WHERE id <= 1000")
        newest = take(cluster, repository, source)

    assert newest.detection is Detection.SUMMARIES
    with connected_copy(repository, newest, server_root / "copy") as copy:
        copy.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        plan = copy.execute("EXPLAIN SELECT count(*) FROM rows WHERE id > 0").fetchall()
        count = copy.execute("SELECT count(*) FROM rows WHERE id > 0").fetchone()
        invisible = copy.execute("SELECT count(*) FROM pg_check_visible('rows')").fetchone()
    assert any("Index Only Scan" in row[0] for row in plan)
    assert count == (49000,)
    assert invisible == (0,)


@pytest.mark.pg("18")
@BOTH
def test_without_hints_in_wal_a_backup_is_equal_but_for_hints(server_root: Path, source: BackupSource) -> None:
    """A SELECT changes pages that no WAL mentions; that is explained, and distrusts nothing."""
    repository = new_repository(server_root)
    with summarized_cluster(server_root, 18, checksums=False, wal_log_hints="off") as cluster:
        execute(cluster, "CREATE TABLE hinted AS SELECT g AS id, repeat('h', 200) FROM generate_series(1, 60000) g")
        take(cluster, repository, source)
        execute(cluster, "SELECT count(*) FROM hinted", "UPDATE hinted SET id = -id WHERE id % 9000 = 1", "CHECKPOINT")
        backups = [take(cluster, repository, source) for _ in range(3)]
        wrong = differences(repository, backups[-1], cluster, mask=True)

    assert [backup.detection for backup in backups] == [Detection.SUMMARIES] * 3
    assert wrong == []
