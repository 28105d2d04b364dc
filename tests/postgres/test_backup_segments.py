"""A relation of more than 1 GB, in two files: whole, by changed pages, shorter than it was, and cut off meanwhile."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

import servers
from backups import copy_watched
from incremental_work import SUMMARIZED, choice_of, execute, new_repository, take
from plain_copies import connected_copy
from safepoint.kernel import PAGE_BYTES
from safepoint.model.backup import BackupManifest, BackupSource, DamagedPage, Detection
from safepoint.postgres.cluster import Cluster, start, stop
from safepoint.postgres.connect import connect
from safepoint.recovery.files import write_files
from safepoint.repository import Repository
from safepoint.steps.execute import Progress

SEGMENT_BYTES = 1 << 30
SEGMENT_BLOCKS = SEGMENT_BYTES // PAGE_BYTES
ROWS = 3000

BOTH = pytest.mark.parametrize("source", list(BackupSource), ids=lambda source: source.value)


@pytest.fixture
def large(server_root: Path, major: int) -> Generator[Cluster]:
    """A server with the table `long`: most of its first gigabyte are empty pages, its rows stand at both ends."""
    settings = SUMMARIZED if major >= 17 else {}
    with servers.serving(server_root, major, settings) as server:
        execute(server, "CREATE TABLE long (id int, t text)", "ALTER TABLE long SET (autovacuum_enabled = off)")
        insert(server, 0)
        path = server.data / path_of(server)
        stop(server)
        os.truncate(path, SEGMENT_BYTES)  # pages of zeros: made ready by an extension, and not used yet
        second = path.with_name(f"{path.name}.1")
        second.write_bytes(bytes(PAGE_BYTES))
        second.chmod(0o600)
        os.chown(second, path.stat().st_uid, path.stat().st_gid)
        start(server)
        insert(server, ROWS)
        execute(server, "CHECKPOINT")
        yield server


def insert(server: Cluster, first: int) -> None:
    """Rows that lie on about a hundred pages, after all that are there."""
    execute(server, f"INSERT INTO long SELECT {first} + g, repeat(md5(g::text), 8) FROM generate_series(1, {ROWS}) g")


def path_of(server: Cluster) -> str:
    with connect(server.url()) as connection:
        row = connection.execute("SELECT pg_relation_filepath('long')").fetchone()
    assert row is not None
    return str(row[0])


def must_be_as_on_disk(repository: Repository, backup: BackupManifest, server: Cluster, into: Path) -> None:
    """The table's files, restored, are those of the server, which is at rest, byte for byte."""
    into.mkdir(mode=0o700)
    write_files(repository, backup, into, lambda _: None)
    for name in (path_of(server), f"{path_of(server)}.1"):
        assert are_equal(into / name, server.data / name), name


def are_equal(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            first, second = left.read(1 << 24), right.read(1 << 24)
            if first != second:
                return False
            if not first:
                return True


@pytest.mark.skipif("SAFEPOINT_LARGE" not in os.environ, reason="takes half a minute; enable with: make campaign-large")
@pytest.mark.pg("18")
@BOTH
def test_changes_in_a_second_file_of_a_relation_are_found_by_summaries(
    large: Cluster, server_root: Path, source: BackupSource
) -> None:
    """Whole and by changed pages it is restored byte for byte; and when a vacuum has made it shorter than one file."""
    repository = new_repository(server_root)

    full = take(large, repository, source)
    must_be_as_on_disk(repository, full, large, server_root / "full")
    execute(large, f"UPDATE long SET t = reverse(t) WHERE id > {ROWS} AND id % 50 = 0", "CHECKPOINT")
    changed = take(large, repository, source)
    must_be_as_on_disk(repository, changed, large, server_root / "changed")
    execute(large, f"DELETE FROM long WHERE id > {ROWS}", "VACUUM long", "CHECKPOINT")
    shorter = take(large, repository, source)
    must_be_as_on_disk(repository, shorter, large, server_root / "shorter")

    assert (large.data / path_of(large)).stat().st_size < SEGMENT_BYTES // 100
    assert [backup.detection for backup in (changed, shorter)] == [Detection.SUMMARIES] * 2
    assert changed.added_bytes < full.added_bytes // 2


@pytest.mark.pg("15")
@BOTH
def test_damage_in_a_second_file_is_named_by_its_block_in_the_fork(
    large: Cluster, server_root: Path, source: BackupSource
) -> None:
    """Before 17 the server itself counts from the file's beginning."""
    repository = new_repository(server_root)
    path = f"{path_of(large)}.1"
    stop(large)
    with (large.data / path).open("r+b") as file:
        file.seek(2 * PAGE_BYTES + 5000)
        file.write(b"\xff\x00\xfe")
    start(large)

    backup = take(large, repository, source)

    assert backup.damaged_pages == (DamagedPage(path=path, block=SEGMENT_BLOCKS + 2),)


@pytest.mark.pg("18")
@BOTH
def test_a_relation_cut_off_at_a_gigabyte_meanwhile_is_consistent_after_replay(
    large: Cluster, server_root: Path, source: BackupSource
) -> None:
    """Its second file loses its pages, and another relation vanishes: WAL tells of both."""
    repository = new_repository(server_root)
    execute(large, "CREATE TABLE gone AS SELECT generate_series(1, 5000) AS g", "CHECKPOINT")
    done: list[int] = []

    def change(progress: Progress) -> None:
        if not done:
            done.append(progress.done)
            execute(large, f"DELETE FROM long WHERE id > {ROWS}", "VACUUM long", "DROP TABLE gone", "CHECKPOINT")

    backup = copy_watched(large.url(), repository, choice_of(large, source), change)

    assert done
    with connected_copy(repository, backup, server_root / "copy") as copy:
        assert copy.execute("SELECT count(*), max(id) FROM long").fetchone() == (ROWS, ROWS)
        assert copy.execute("SELECT to_regclass('gone')").fetchone() == (None,)
