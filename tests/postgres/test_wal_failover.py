"""The WAL receiver with a real pair: it follows a promotion within seconds, and no byte is missing afterwards."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

import servers
from backups import flushed, new_repository, receiving, system_identifier, wait_until
from safepoint.backup.coverage import coverage_of, spans_of
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.cluster import Cluster, promote, remove_cluster, start, stop
from safepoint.postgres.connect import connect
from safepoint.repository import Repository

ENDS = pytest.mark.pg("15"), pytest.mark.pg("18")
SLOT = "safepoint_shop"
ONE, TWO = TimelineId(1), TimelineId(2)


@contextmanager
def standby_of(primary: Cluster, directory: Path) -> Generator[Cluster]:
    """A streaming standby, gone after the context."""
    standby = servers.standby_of(primary, directory / "standby")
    try:
        yield standby
    finally:
        remove_cluster(standby)


def write(cluster: Cluster, rows: int = 2000) -> Lsn:
    """Some WAL; how far it is flushed afterwards."""
    with connect(cluster.url()) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS written (g int, filler text)")
        connection.execute("INSERT INTO written SELECT g, md5(g::text) FROM generate_series(1, %s) g", [rows])
        return flushed(connection)


def position_of_slot(cluster: Cluster) -> Lsn | None:
    with connect(cluster.url()) as connection:
        row = connection.execute(
            "SELECT restart_lsn::text FROM pg_replication_slots WHERE slot_name = %s", [SLOT]
        ).fetchone()
    return None if row is None or row[0] is None else Lsn.parse(row[0])


def end_of(repository: Repository, identifier: str, timeline: TimelineId) -> Lsn:
    """How far the timeline is held without a hole from its first byte on."""
    spans = spans_of(repository.wal_pieces(identifier)).get(timeline, ())
    return spans[0].end if spans else Lsn(0)


def require_no_hole(repository: Repository, identifier: str) -> None:
    history = repository.read_history(identifier, TWO)
    assert history is not None
    assert coverage_of([], repository.wal_pieces(identifier), {}, {TWO: history}).gaps == ()
    switch = Lsn.parse(history.decode().split()[1])
    assert end_of(repository, identifier, ONE) >= switch.segment_start(16 << 20)


@pytest.mark.pg("!= 16, != 17")
def test_a_promotion_is_followed_and_the_old_primary_is_not(server: Cluster, server_root: Path) -> None:
    """Within seconds and without a hole, though the new primary recycles WAL; what comes back on timeline 1 is left."""
    repository = new_repository(server_root)
    identifier = system_identifier(server)
    with (
        standby_of(server, server_root) as standby,
        receiving(server.url(), repository, replicas=(standby.url(),)) as background,
    ):
        end = write(server)
        wait_until(lambda: end_of(repository, identifier, ONE) >= end)
        wait_until(lambda: (position_of_slot(standby) or Lsn(0)) >= end)

        stop(server, mode="immediate")
        promote(standby)
        began = time.monotonic()
        with connect(standby.url()) as connection:
            for _ in range(3):
                connection.execute("SELECT pg_switch_wal()")
                connection.execute("CHECKPOINT")
        end = write(standby)
        wait_until(lambda: end_of(repository, identifier, TWO) >= end)
        assert time.monotonic() - began < 10

        start(server)
        diverged = write(server, 50_000)
        held = end_of(repository, identifier, ONE)
        end = write(standby)
        wait_until(lambda: end_of(repository, identifier, TWO) >= end)
        background.stop()
        with receiving(server.url(), repository, replicas=(standby.url(),)):
            end = write(standby)
            wait_until(lambda: end_of(repository, identifier, TWO) >= end)
        assert end_of(repository, identifier, ONE) == held < diverged

    require_no_hole(repository, identifier)


@pytest.mark.pg("18")
def test_a_primary_promoted_beside_a_living_one_is_followed(server: Cluster, server_root: Path) -> None:
    """Nobody stopped the old primary: the higher timeline decides."""
    repository = new_repository(server_root)
    identifier = system_identifier(server)
    with (
        standby_of(server, server_root) as standby,
        receiving(server.url(), repository, replicas=(standby.url(),)),
    ):
        end = write(server)
        wait_until(lambda: (position_of_slot(standby) or Lsn(0)) >= end)
        promote(standby)
        end = write(standby)

        wait_until(lambda: end_of(repository, identifier, TWO) >= end)

    require_no_hole(repository, identifier)
