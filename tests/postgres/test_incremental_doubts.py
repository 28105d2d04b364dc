"""Where WAL summaries do not say everything, or were found wrong: the backup reads all, says why, and is whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

import servers
from incremental_work import differences, execute, new_repository, summarized_cluster, take
from safepoint.backup.changes import is_in_share, main_fork_file
from safepoint.backup.sources.changes_known import share_after
from safepoint.backup.summaries_trust import distrust_of, record_trusted
from safepoint.kernel import PAGE_BYTES, page_checksums
from safepoint.model.backup import BackupManifest, BackupSource, Detection
from safepoint.model.measures import system_clock
from safepoint.postgres.cluster import Cluster, promote, remove_cluster, start, stop
from safepoint.postgres.connect import connect
from safepoint.repository import Repository

BOTH = pytest.mark.parametrize("source", list(BackupSource), ids=lambda source: source.value)
EIGHTEEN = pytest.mark.pg("18")
PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def summarized() -> Generator[Cluster]:
    """A server for all tests here, with something in it."""
    with servers.server_directory() as root, summarized_cluster(root, 18) as cluster:
        execute(cluster, "CREATE TABLE t AS SELECT g AS id, repeat('t', 200) AS t FROM generate_series(1, 20000) g")
        yield cluster


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@contextmanager
def setting(cluster: Cluster, assignment: str) -> Generator[None]:
    """The setting holds inside the context."""
    execute(cluster, f"ALTER SYSTEM SET {assignment}", "SELECT pg_reload_conf()")
    name = assignment.partition(" ")[0]
    try:
        yield
    finally:
        execute(cluster, f"ALTER SYSTEM RESET {name}", "SELECT pg_reload_conf()")


def must_have_read_all(repository: Repository, backup: BackupManifest, cluster: Cluster, why: str) -> None:
    assert backup.detection is Detection.READ
    assert why in backup.detection_reason
    assert backup.share == 0
    assert differences(repository, backup, cluster) == []


@EIGHTEEN
@BOTH
def test_without_summaries_everything_is_read(summarized: Cluster, server_root: Path, source: BackupSource) -> None:
    """summarize_wal is off when the backup is taken."""
    repository = new_repository(server_root)
    take(summarized, repository, source)
    execute(summarized, "UPDATE t SET t = 'off' WHERE id % 100 = 1")

    with setting(summarized, "summarize_wal = off"):
        wait_until(lambda: shown(summarized, "summarize_wal") == "off")
        backup = take(summarized, repository, source)

    must_have_read_all(repository, backup, summarized, "summarize_wal is off")
    wait_until(lambda: shown(summarized, "summarize_wal") == "on")


def shown(cluster: Cluster, name: str) -> str:
    with connect(cluster.url()) as connection:
        row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


@EIGHTEEN
@BOTH
def test_a_hole_in_the_summaries_is_doubt(summarized: Cluster, server_root: Path, source: BackupSource) -> None:
    """Summaries that were removed are not waited for, and nothing is taken to be unchanged without them."""
    repository = new_repository(server_root)
    parent = take(summarized, repository, source)
    execute(summarized, "UPDATE t SET t = 'hole' WHERE id % 100 = 2", "CHECKPOINT")
    directory = summarized.data / "pg_wal" / "summaries"
    before = {path.name for path in directory.iterdir() if not path.name.startswith("temp")}
    execute(summarized, "UPDATE t SET t = 'more' WHERE id % 100 = 3", "CHECKPOINT")
    wait_until(lambda: {path.name for path in directory.iterdir()} > before)
    for path in directory.glob("*.summary"):
        path.unlink()
    began = time.monotonic()

    backup = take(summarized, repository, source)

    assert time.monotonic() - began < PATIENCE_SECONDS
    must_have_read_all(
        repository, backup, summarized, "WAL summaries do not cover" if source is BackupSource.FILES else ""
    )
    assert str(parent.start_lsn) in backup.detection_reason


@EIGHTEEN
@BOTH
def test_a_promotion_between_parent_and_backup_is_followed(
    summarized: Cluster, server_root: Path, source: BackupSource
) -> None:
    """Summaries of the promoted standby cover both timelines, and are used."""
    repository = new_repository(server_root)
    standby = servers.standby_of(summarized, server_root / "standby")
    try:
        take(summarized, repository, source)
        execute(summarized, "UPDATE t SET t = 'before' WHERE id % 100 = 4")
        with connect(summarized.url()) as connection:
            row = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        assert row is not None
        wait_until(lambda: has_replayed(standby, str(row[0])))
        promote(standby)
        execute(standby, "UPDATE t SET t = 'after' WHERE id % 100 = 5", "CHECKPOINT")

        followed = take(standby, repository, source)
        wrong = differences(repository, followed, standby)

        assert (followed.timeline.value, followed.detection, followed.detection_reason) == (2, Detection.SUMMARIES, "")
        assert wrong == []
    finally:
        remove_cluster(standby)


def has_replayed(standby: Cluster, lsn: str) -> bool:
    with connect(standby.url()) as connection:
        row = connection.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [lsn]).fetchone()
    return row is not None and bool(row[0])


@EIGHTEEN
@BOTH
def test_a_page_changed_behind_wal_disables_summaries_until_they_are_trusted(
    server_root: Path, source: BackupSource
) -> None:
    """The share that is read again finds it: that backup is whole, the next reads all, and a person decides."""
    repository = new_repository(server_root)
    with summarized_cluster(server_root, 18) as cluster:
        parent = take(cluster, repository, source)
        stop(cluster)
        path = change_a_page(repository, parent, cluster)
        start(cluster)

        found = take(cluster, repository, source)
        wrong = differences(repository, found, cluster)
        distrust = distrust_of(repository, found.system_identifier)
        doubting = take(cluster, repository, source)
        record_trusted(repository, found.system_identifier, system_clock())
        trusting = take(cluster, repository, source)

    assert found.detection is Detection.READ
    assert f"page 0 of {path}" in found.detection_reason
    assert wrong == []
    assert distrust is not None
    assert (distrust.path, distrust.blocks) == (path, (0,))
    assert doubting.detection is Detection.READ
    assert path in doubting.detection_reason
    assert trusting.detection is Detection.SUMMARIES


def change_a_page(repository: Repository, parent: BackupManifest, cluster: Cluster) -> str:
    """A byte of a page, that the next backup reads again, is another, with a checksum that fits."""
    share = share_after(parent)
    path = next(
        entry.path
        for entry in repository.files(parent).entries()
        if entry.path.startswith("base/4/")
        and main_fork_file(entry.path)
        and entry.size >= PAGE_BYTES
        and is_in_share(parent.system_identifier, entry.path, share)
    )
    with (cluster.data / path).open("r+b") as file:
        page = bytearray(file.read(PAGE_BYTES))
        page[-40] ^= 0xFF
        page[8:10] = int(page_checksums(page, 0)[0]).to_bytes(2, "little")
        file.seek(0)
        file.write(page)
    return path
