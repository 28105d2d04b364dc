"""The slot, or what it kept, is gone behind the receiver's back: nothing is joined that cannot be compared."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

import servers
from backups import BackgroundReceiver, new_repository, pieces_of, receiving, system_identifier, wait_until
from receivers import ONE, SLOT, Named, recycle, slot_position, write
from safepoint import errors
from safepoint.backup.coverage import spans_of
from safepoint.model.lsn import Lsn
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.connect import connect
from safepoint.repository import Repository

pytestmark = pytest.mark.pg("18")
SEGMENT = 16 << 20
OTHER_SLOT = "of_somebody_else"


@pytest.fixture(scope="module")
def production(major: int) -> Generator[Cluster]:
    """It keeps what slots ask for, and nothing else."""
    settings = {"min_wal_size": "32MB", "max_wal_size": "32MB", "checkpoint_timeout": "1h"}
    with servers.server_directory() as root, servers.serving(root, major, settings) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def without_slots(production: Cluster) -> Generator[None]:
    """Every test begins and ends without slots and limits."""
    yield
    execute(
        production,
        "ALTER SYSTEM RESET max_slot_wal_keep_size",
        "SELECT pg_reload_conf()",
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active",
    )


def execute(cluster: Cluster, *statements: str) -> None:
    with connect(cluster.url()) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def received_up_to_a_boundary(production: Cluster, repository: Repository) -> Lsn:
    """What is held, and what the slot keeps, ends and begins with a segment."""
    with receiving(production.url(), repository) as background:
        position = write(production)
        execute(production, "SELECT pg_switch_wal()")
        wait_until(lambda: position <= (end := background.receiver.acknowledged) and is_boundary(end))
    end = held(production, repository)[-1]
    assert is_boundary(end)
    assert slot_position(production) == end
    return end


def is_boundary(position: Lsn) -> bool:
    return position > Lsn(0) and position == position.segment_start(SEGMENT)


def held(production: Cluster, repository: Repository) -> list[Lsn]:
    """The ends of the stretches of timeline 1."""
    return [span.end for span in spans_of(pieces_of(repository, production)).get(ONE, ())]


def test_a_slot_on_the_boundary_vouches_for_a_segment_that_is_gone(production: Cluster, tmp_path: Path) -> None:
    """Every receiver that was stopped there would be refused else: the server keeps nothing before."""
    repository = new_repository(tmp_path)
    end = received_up_to_a_boundary(production, repository)
    recycle(production)

    with receiving(production.url(), repository) as background:
        position = write(production)
        wait_until(lambda: background.receiver.acknowledged >= position)

    (last,) = held(production, repository)
    assert last > end


def test_without_a_slot_wal_that_cannot_be_compared_is_not_joined(production: Cluster, tmp_path: Path) -> None:
    """The WAL behind the boundary is still there, the segment before is not: WL001, and nothing is stored."""
    repository = new_repository(tmp_path)
    end = received_up_to_a_boundary(production, repository)
    execute(
        production,
        f"SELECT pg_copy_physical_replication_slot('{SLOT}', '{OTHER_SLOT}')",
        f"SELECT pg_drop_replication_slot('{SLOT}')",
    )
    recycle(production)

    error = BackgroundReceiver(production.url(), repository).wait_for_end()

    assert isinstance(error, errors.Refused)
    assert error.spec is errors.WL001
    assert f"found the segment before {end}" in error.message
    assert any("--accept-gap" in hint.text for hint in error.hints)
    assert held(production, repository) == [end]


def test_a_slot_dropped_while_streaming_is_made_again(production: Cluster, tmp_path: Path) -> None:
    """The server still has the WAL: it is compared, and nothing is missing."""
    repository = new_repository(tmp_path)
    with receiving(production.url(), repository) as background:
        before = write(production)
        wait_until(lambda: background.receiver.acknowledged >= before)
        execute(
            production,
            "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots",
            f"SELECT pg_drop_replication_slot('{SLOT}') FROM pg_replication_slots WHERE slot_name = '{SLOT}'",
        )
        after = write(production)
        wait_until(lambda: background.receiver.acknowledged >= after)

    assert len(held(production, repository)) == 1
    assert slot_position(production) >= after


def test_a_slot_that_was_lost_is_told_of_and_the_gap_is_named(production: Cluster, tmp_path: Path) -> None:
    """A store refuses until the server removes what the slot kept: WL004; with accept_gap it goes on behind a gap."""
    place = Named(tmp_path, "main")
    background = BackgroundReceiver(production.url(), place.repository)
    write(production)
    wait_until(lambda: background.receiver.acknowledged > Lsn(0))
    place.store.refuses = True
    execute(production, "ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'", "SELECT pg_reload_conf()")
    for _ in range(3):
        write(production, 100_000)
        recycle(production)
    place.store.refuses = False
    error = background.wait_for_end()

    assert isinstance(error, errors.Damaged)
    assert error.spec is errors.WL004
    assert any("--accept-gap" in hint.text for hint in error.hints)
    (end,) = place_ends(place, production)
    execute(production, "ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")
    with receiving(production.url(), place.repository, accept_gap=True) as again:
        position = write(production)
        wait_until(lambda: again.receiver.acknowledged >= position)
    first, last = place_ends(place, production)
    assert first == end
    assert last >= position


def place_ends(place: Named, production: Cluster) -> list[Lsn]:
    spans = spans_of(place.repository.wal_pieces(system_identifier(production)))
    return [span.end for span in spans.get(ONE, ())]
