"""WAL on its way into a repository: what is durable when, and what is refused."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

import pytest

from safepoint import errors
from safepoint.backup.durable import durable_up_to
from safepoint.backup.shipping import WalShipper, WalStreamId
from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.repository import Repository, create_repository
from safepoint.stores import open_store

SIZE = 1 << 20
CLUSTER = "7"
STREAM = WalStreamId(cluster=CLUSTER, timeline=TimelineId(1), history=b"", segment_size=SIZE)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def segment(number: int, identifier: int = 7) -> bytes:
    head = struct.pack("<HHIQI4xQII", 0xD118, 2, 1, number * SIZE, 0, identifier, SIZE, 8192)
    return head + bytes([number]) * (SIZE - len(head))


@pytest.fixture
def repository() -> Repository:
    return create_repository(open_store("memory:"), None)


def shipper_at(repository: Repository, number: int) -> WalShipper:
    return WalShipper(repository=repository, stream=STREAM, position=Lsn(number * SIZE), durable=Lsn(number * SIZE))


def test_taking_makes_nothing_durable(repository: Repository) -> None:
    """Only the repository's answer does."""
    shipper = shipper_at(repository, 1)

    shipper.take(Lsn(SIZE), segment(1) + segment(2)[:500])

    assert (shipper.position, shipper.durable) == (Lsn(2 * SIZE + 500), Lsn(SIZE))
    assert repository.wal_pieces(CLUSTER) == ()


def test_shipping_stores_every_byte_once_taken(repository: Repository) -> None:
    """Whole segments, and the open one's bytes as a range."""
    shipper = shipper_at(repository, 1)
    shipper.take(Lsn(SIZE), segment(1) + segment(2)[:500])

    shipper.ship_open()

    stored = b"".join(repository.read_wal(piece) for piece in repository.wal_pieces(CLUSTER))
    assert stored == segment(1) + segment(2)[:500]
    assert shipper.durable == shipper.position == durable_up_to(repository, CLUSTER, TimelineId(1), Lsn(SIZE))


def test_ranges_go_when_their_segment_is_whole_and_leave_their_mark(repository: Repository) -> None:
    """What was provable with the ranges stays provable without them."""
    shipper = shipper_at(repository, 1)
    shipper.take(Lsn(SIZE), segment(1)[:500])
    shipper.mark = mark = Mark(lsn=Lsn(SIZE + 400), clock=NOON)
    shipper.ship_open()
    shipper.take(Lsn(SIZE + 500), segment(1)[500:])

    shipper.ship_whole()

    (piece,) = repository.wal_pieces(CLUSTER)
    assert (piece.is_partial, piece.end) == (False, Lsn(2 * SIZE))
    assert repository.read_mark(piece) == mark


def test_ranges_of_a_segment_that_is_not_stored_whole_stay(repository: Repository) -> None:
    """Acknowledged bytes in front of a hole are kept when somebody ships whole segments behind it."""
    before = shipper_at(repository, 1)
    before.take(Lsn(SIZE), segment(1)[:500])
    before.ship_open()
    behind = shipper_at(repository, 5)
    behind.take(Lsn(5 * SIZE), segment(5))

    behind.ship_whole()

    assert durable_up_to(repository, CLUSTER, TimelineId(1), Lsn(SIZE)) == Lsn(SIZE + 500)


def test_a_shipper_that_begins_anew_carries_its_predecessors_mark_on(repository: Repository) -> None:
    """A restart loses no proven instant."""
    mark = Mark(lsn=Lsn(SIZE + 400), clock=NOON)
    first = shipper_at(repository, 1)
    first.take(Lsn(SIZE), segment(1)[:500])
    first.mark = mark
    first.ship_open()
    second = shipper_at(repository, 1)
    second.take(Lsn(SIZE), segment(1))

    second.ship_whole()

    (piece,) = repository.wal_pieces(CLUSTER)
    assert repository.read_mark(piece) == mark


def test_ranges_stay_while_their_mark_is_nowhere_else(repository: Repository) -> None:
    """A backup that stored the segment first stored it without a mark; the range that has it is kept."""
    mark = Mark(lsn=Lsn(SIZE + 400), clock=NOON)
    receiver = shipper_at(repository, 1)
    receiver.take(Lsn(SIZE), segment(1)[:500])
    receiver.mark = mark
    receiver.ship_open()
    backup = shipper_at(repository, 1)
    backup.keeps_ranges = True
    backup.take(Lsn(SIZE), segment(1))
    backup.ship_whole()
    receiver.take(Lsn(SIZE + 500), segment(1)[500:])

    receiver.ship_whole()

    marks = [repository.read_mark(piece) for piece in repository.wal_pieces(CLUSTER)]
    assert mark in marks


def test_a_mark_is_not_lost_to_a_segment_that_an_archive_command_stored_first(repository: Repository) -> None:
    """The segment keeps the facts it was put with; the mark goes with what comes next."""
    mark = Mark(lsn=Lsn(SIZE + 400), clock=NOON)
    repository.put_wal_segment(
        CLUSTER, WalSegment.holding(TimelineId(1), Lsn(SIZE), SIZE), segment(1), history=b"", mark=None
    )
    receiver = shipper_at(repository, 1)
    receiver.take(Lsn(SIZE), segment(1) + segment(2)[:500])
    receiver.mark = mark

    receiver.ship_open()

    assert mark in [repository.read_mark(piece) for piece in repository.wal_pieces(CLUSTER)]


def test_a_mark_beyond_what_is_shipped_is_kept_back(repository: Repository) -> None:
    """A mark in the repository never speaks of WAL that is not."""
    shipper = shipper_at(repository, 1)
    shipper.take(Lsn(SIZE), segment(1)[:500])
    shipper.mark = Mark(lsn=Lsn(SIZE + 501), clock=NOON)

    shipper.ship_open()

    (piece,) = repository.wal_pieces(CLUSTER)
    assert repository.read_mark(piece) is None
    assert shipper.mark is not None


def test_an_idle_server_still_gets_newer_marks_without_piling_up_objects(repository: Repository) -> None:
    """Time passes in coverage although no WAL comes."""
    shipper = shipper_at(repository, 1)
    shipper.take(Lsn(SIZE), segment(1)[:500])
    shipper.ship_open()

    for minute in range(6):
        shipper.mark = Mark(lsn=Lsn(SIZE + 500), clock=NOON.replace(minute=minute))
        shipper.ship_open()

    pieces = repository.wal_pieces(CLUSTER)
    marks = [mark for piece in pieces if (mark := repository.read_mark(piece)) is not None]
    assert max(mark.clock for mark in marks) == NOON.replace(minute=5)
    assert len(pieces) == 2


def test_a_hole_in_what_arrives_is_refused(repository: Repository) -> None:
    """WL002 with both positions; nothing behind the hole is taken."""
    shipper = shipper_at(repository, 1)
    shipper.take(Lsn(SIZE), segment(1)[:500])

    with pytest.raises(errors.Damaged) as caught:
        shipper.take(Lsn(SIZE + 501), b"x")

    assert caught.value.spec is errors.WL002
    assert str(Lsn(SIZE + 500)) in caught.value.message


@pytest.mark.parametrize("foreign", [segment(1, identifier=8), segment(2), b"x" * SIZE])
def test_foreign_wal_is_refused_by_its_first_page(repository: Repository, foreign: bytes) -> None:
    """Another cluster's, another position's, or no WAL at all: nothing of it is stored."""
    shipper = shipper_at(repository, 1)

    with pytest.raises(errors.Refused) as caught:
        shipper.take(Lsn(SIZE), foreign)

    assert caught.value.spec is errors.WL001
    assert repository.wal_pieces(CLUSTER) == ()


def test_foreign_wal_is_refused_in_a_range_too(repository: Repository) -> None:
    """The check does not wait for the segment to be whole."""
    shipper = shipper_at(repository, 1)
    shipper.take(Lsn(SIZE), segment(1, identifier=8)[:500])

    with pytest.raises(errors.Refused):
        shipper.ship_open()


def test_a_shipper_begins_at_a_segment(repository: Repository) -> None:
    """Anything else would leave a segment that can never be whole."""
    with pytest.raises(ValueError, match="first byte"):
        WalShipper(repository=repository, stream=STREAM, position=Lsn(SIZE + 1), durable=Lsn(SIZE))


def test_a_crash_between_a_new_mark_and_the_old_ones_end_loses_no_mark(repository: Repository) -> None:
    """Both are there when the next receiver begins: its own mark is stored, and the newest is never deleted before."""
    shipper = shipper_at(repository, 1)
    shipper.take(Lsn(SIZE), segment(1)[:500])
    shipper.ship_open()
    end = Lsn(SIZE + 500)
    for size in (1, 2):
        mark = Mark(lsn=end, clock=NOON + timedelta(seconds=size))
        repository.put_wal_range(
            CLUSTER, TimelineId(1), end + -size, segment(1)[500 - size : 500], history=b"", mark=mark
        )
    after = WalShipper(repository=repository, stream=STREAM, position=Lsn(SIZE), durable=end)
    after.take(Lsn(SIZE), segment(1)[:500])
    after.mark = newest = Mark(lsn=end, clock=NOON + timedelta(minutes=1))

    after.ship_open()

    assert newest in [repository.read_mark(piece) for piece in repository.wal_pieces(CLUSTER)]


def test_wal_that_does_not_continue_what_is_held_is_refused(repository: Repository) -> None:
    """A clone of the same timeline that went its own way: nothing is put, what is held stays."""
    shipper = shipper_at(repository, 1)
    shipper.take(Lsn(SIZE), segment(1)[:500])
    shipper.ship_open()
    held = repository.wal_pieces(CLUSTER)
    other = WalShipper(repository=repository, stream=STREAM, position=Lsn(SIZE), durable=Lsn(SIZE + 500))
    other.take(Lsn(SIZE), segment(1)[:400] + b"another history" * 100)

    with pytest.raises(errors.Refused) as caught:
        other.ship_open()

    assert caught.value.spec is errors.WL001
    assert repository.wal_pieces(CLUSTER) == held
    other.take(other.position, segment(1)[other.position - Lsn(SIZE) :])
    with pytest.raises(errors.Refused):
        other.ship_whole()
    assert repository.wal_pieces(CLUSTER) == held


def test_a_mark_put_while_old_bytes_come_again_repeats_the_bytes_before_it(repository: Repository) -> None:
    """After a reconnect the segment is sent from its start: what was taken last is not what is durable last."""
    wal = segment(1)[:400] + bytes(range(100))
    shipper = shipper_at(repository, 1)
    shipper.take(Lsn(SIZE), wal)
    shipper.ship_open()
    after = WalShipper(repository=repository, stream=STREAM, position=Lsn(SIZE), durable=Lsn(SIZE + 500))
    after.take(Lsn(SIZE), wal[:420])
    after.mark = Mark(lsn=Lsn(SIZE + 500), clock=NOON)

    after.ship_open()

    for piece in repository.wal_pieces(CLUSTER):
        assert repository.read_wal(piece) == wal[piece.start - Lsn(SIZE) : piece.end - Lsn(SIZE)]
    assert len(repository.wal_pieces(CLUSTER)) == 2
