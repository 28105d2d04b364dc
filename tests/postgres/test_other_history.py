"""Servers whose history is not the one that the repository holds, though identifier, timeline and positions agree."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from backups import BackgroundReceiver, receiving, wait_until
from incremental_work import differences, execute, new_repository, summarized_cluster, take
from safepoint import errors
from safepoint.backup.coverage import contiguous_end, spans_of
from safepoint.model.backup import BackupManifest, BackupSource, Detection
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.cluster import Cluster, start, stop
from safepoint.repository import Repository

BOTH = pytest.mark.parametrize("source", list(BackupSource), ids=lambda source: source.value)
EIGHTEEN = pytest.mark.pg("18")
ROWS = "CREATE TABLE t AS SELECT g AS id, repeat('a', 300) AS t, 0 AS v FROM generate_series(1, 5000) g"


def take_snapshot(cluster: Cluster, place: Path) -> None:
    stop(cluster)
    subprocess.run(["cp", "-a", str(cluster.data), str(place)], check=True)
    start(cluster)


def put_back(cluster: Cluster, place: Path) -> None:
    stop(cluster)
    shutil.rmtree(cluster.data)
    subprocess.run(["cp", "-a", str(place), str(cluster.data)], check=True)
    start(cluster)


def go_on(cluster: Cluster, segments: int) -> None:
    for _ in range(segments):
        execute(cluster, "UPDATE t SET v = 2 WHERE id BETWEEN 3000 AND 3100", "SELECT pg_switch_wal()")


@EIGHTEEN
@BOTH
def test_a_server_that_was_put_back_to_a_snapshot_is_read_whole(server_root: Path, source: BackupSource) -> None:
    """The parent's pages hold changes that this server never made; WAL summaries cannot know of them."""
    repository = new_repository(server_root)
    with summarized_cluster(server_root, 18) as cluster:
        execute(cluster, ROWS, "CHECKPOINT")
        take(cluster, repository, source)
        take_snapshot(cluster, server_root / "snapshot")
        execute(cluster, "UPDATE t SET v = 1 WHERE id < 400", "CHECKPOINT", "SELECT pg_switch_wal()")
        take(cluster, repository, source)
        put_back(cluster, server_root / "snapshot")
        go_on(cluster, 6)

        backup = take(cluster, repository, source)

        assert backup.detection is Detection.READ
        assert "put back to a snapshot" in backup.detection_reason
        assert differences(repository, backup, cluster) == []


@EIGHTEEN
def test_a_receiver_compares_what_is_held_also_on_the_boundary_of_two_segments(server_root: Path) -> None:
    """What it streams from there on overlaps nothing that is held: it would join two histories without a seam."""
    repository = new_repository(server_root)
    with summarized_cluster(server_root, 18) as cluster:
        execute(cluster, ROWS)
        with receiving(cluster.url(), repository):
            backup = take(cluster, repository, BackupSource.FILES)
        take_snapshot(cluster, server_root / "snapshot")
        with receiving(cluster.url(), repository) as receiver:
            execute(cluster, "UPDATE t SET v = 1 WHERE id < 400", "CHECKPOINT", "SELECT pg_switch_wal()")
            wait_until(lambda: _is_on_a_boundary(receiver, backup))
        held = _end(repository, backup.system_identifier, backup.timeline, backup.start_lsn)
        put_back(cluster, server_root / "snapshot")
        go_on(cluster, 6)
        error = BackgroundReceiver(cluster.url(), repository).wait_for_end()

        assert held == held.segment_start(backup.segment_size)
        assert isinstance(error, errors.SafepointError)
        assert error.spec is errors.WL001
        assert _end(repository, backup.system_identifier, backup.timeline, backup.start_lsn) == held


@EIGHTEEN
@BOTH
def test_where_the_wal_held_is_damaged_all_is_read(server_root: Path, source: BackupSource) -> None:
    """Nothing proves then that the history is the same; the backup that is made all the same needs none of it."""
    repository = new_repository(server_root)
    with summarized_cluster(server_root, 18) as cluster:
        execute(cluster, ROWS)
        parent = take(cluster, repository, source)
        for piece in repository.wal_pieces(parent.system_identifier):
            damage(server_root / "repository" / piece.name)
        go_on(cluster, 2)

        backup = take(cluster, repository, source)

        assert backup.detection is Detection.READ
        assert "damaged" in backup.detection_reason
        assert differences(repository, backup, cluster) == []


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)


def _is_on_a_boundary(receiver: BackgroundReceiver, backup: BackupManifest) -> bool:
    durable = receiver.watcher.states[-1].durable if receiver.watcher.states else backup.stop_lsn
    is_beyond = durable > backup.stop_lsn.segment_start(backup.segment_size) + backup.segment_size
    return is_beyond and durable == durable.segment_start(backup.segment_size)


def _end(repository: Repository, cluster: str, timeline: TimelineId, start: Lsn) -> Lsn:
    return contiguous_end(spans_of(repository.wal_pieces(cluster)), timeline, start)
