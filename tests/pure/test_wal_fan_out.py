"""WAL into several repositories: what is lacking where, how many objects are left, when a server's disk is full."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

import pytest

from safepoint.backup.pressure import Pressure, Rate
from safepoint.backup.refill import lacking, refill
from safepoint.backup.shipping import WalShipper, WalStreamId
from safepoint.model.coverage import Mark, WalPiece
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.repository import Repository, create_repository
from safepoint.stores import open_store

SIZE = 1 << 20
CLUSTER = "7"
ONE, TWO = TimelineId(1), TimelineId(2)
STREAM = WalStreamId(cluster=CLUSTER, timeline=ONE, history=b"", segment_size=SIZE)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HISTORY = b"1\t0/200000\tno recovery target specified\n"


def piece(start: int, end: int, *, is_partial: bool = False, timeline: TimelineId = ONE) -> WalPiece:
    """Bytes [start, end), a range if it is partial."""
    name = f"{timeline}-{start}-{end}-{is_partial}"
    return WalPiece(timeline=timeline, start=Lsn(start), end=Lsn(end), name=name, is_partial=is_partial)


def segment(number: int) -> bytes:
    head = struct.pack("<HHIQI4xQII", 0xD118, 2, 1, number * SIZE, 0, 7, SIZE, 8192)
    return head + bytes([number]) * (SIZE - len(head))


def repository() -> Repository:
    return create_repository(open_store("memory:"), None)


def test_what_is_held_whole_is_not_copied_again() -> None:
    """A range in the target does not stand for the segment; a range of what the target holds is not wanted."""
    source = [piece(0, 100), piece(100, 200), piece(200, 250, is_partial=True)]
    held = [piece(0, 100), piece(100, 150, is_partial=True)]

    assert lacking(source, held) == [piece(100, 200), piece(200, 250, is_partial=True)]


def test_bounds_keep_what_others_bring_out() -> None:
    """[since, until) by timeline first."""
    source = [piece(0, 100), piece(100, 200), piece(200, 300), piece(200, 300, timeline=TWO)]

    assert lacking(source, [], since=(ONE, Lsn(100)), until=(ONE, Lsn(200))) == [piece(100, 200)]
    assert lacking(source, [], since=(ONE, Lsn(300))) == [piece(200, 300, timeline=TWO)]


def test_a_refill_copies_histories_bytes_and_marks_and_deletes_what_it_replaces() -> None:
    """Twice is once, and the ranges that a segment replaces are gone."""
    source, target = repository(), repository()
    mark = Mark(lsn=Lsn(SIZE + 8), clock=NOON)
    for held in (source, target):
        held.put_wal_range(CLUSTER, ONE, Lsn(SIZE), segment(1)[:500], history=b"", mark=None)
    source.put_wal_segment(CLUSTER, WalSegment(ONE, 1, SIZE), segment(1), history=b"", mark=mark)
    source.put_history(CLUSTER, TWO, HISTORY)
    source.put_wal_range(CLUSTER, TWO, Lsn(2 * SIZE), b"next", history=HISTORY, mark=None)

    copied = refill(source, target, CLUSTER)
    again = refill(source, target, CLUSTER)

    assert (copied, again) == (SIZE + 4, 0)
    pieces = target.wal_pieces(CLUSTER)
    assert [(found.timeline, found.is_partial) for found in pieces] == [(ONE, False), (TWO, True)]
    assert target.read_wal(pieces[0]) == segment(1)
    assert target.read_mark(pieces[0]) == mark
    assert target.read_history(CLUSTER, TWO) == HISTORY


def test_idle_weeks_leave_marks_and_no_heap_of_objects() -> None:
    """Three weeks by an injected clock, a mark every ten minutes: the newest is held, two objects at most."""
    held = repository()
    shipper = WalShipper(repository=held, stream=STREAM, position=Lsn(SIZE), durable=Lsn(SIZE))
    shipper.take(Lsn(SIZE), segment(1)[:500])
    shipper.ship_open()
    most = 0
    clock = NOON
    for number in range(3 * 7 * 24 * 6):
        clock = NOON + timedelta(minutes=10 * number)
        shipper.mark = Mark(lsn=Lsn(SIZE + 500), clock=clock)
        shipper.ship_open()
        if number % 100 == 0:
            most = max(most, len(held.wal_pieces(CLUSTER)))

    marks = [held.read_mark(found) for found in held.wal_pieces(CLUSTER)]
    assert max(mark.clock for mark in marks if mark is not None) == clock
    assert most <= 3


def test_a_thousand_small_shipments_leave_a_few_dozen_ranges_and_every_byte() -> None:
    """At every moment each byte once durable stays so, and the newest mark."""
    held, data = repository(), segment(1)
    shipper = WalShipper(repository=held, stream=STREAM, position=Lsn(SIZE), durable=Lsn(SIZE))
    most, mark = 0, None
    for number in range(1000):
        shipper.take(shipper.position, data[number * 100 : (number + 1) * 100])
        shipper.mark = mark = Mark(lsn=shipper.position, clock=NOON + timedelta(seconds=number))
        shipper.ship_open()
        if number % 50 == 0:
            most = max(most, len(held.wal_pieces(CLUSTER)))
    stored = bytearray(100_000)
    marks = list[Mark]()
    for found in held.wal_pieces(CLUSTER):
        stored[found.start - Lsn(SIZE) : found.end - Lsn(SIZE)] = held.read_wal(found)
        known = held.read_mark(found)
        marks += [] if known is None else [known]

    assert bytes(stored) == data[:100_000]
    assert max(marks, key=lambda known: known.clock) == mark
    assert most <= 50


@pytest.mark.parametrize(
    ("rate", "limit", "left"),
    [(1.0, 160, 60), (None, 160, None), (1.0, None, None), (0.0, 160, None), (1.0, 50, 0)],
)
def test_the_time_left_is_measured_or_unknown(rate: float | None, limit: int | None, left: int | None) -> None:
    """100 bytes are kept; an estimate needs both a rate and a limit."""
    pressure = Pressure(kept=100, rate=rate, limit=limit, limit_name="slot_limit")

    assert pressure.time_left == (None if left is None else timedelta(seconds=left))
    assert "100 B" in str(pressure)


def test_a_rate_forgets_what_is_long_ago() -> None:
    """Five minutes count."""
    rate = Rate()
    rate.note(0.0, 0)
    assert rate.bytes_per_second is None
    for second in range(100, 1000, 100):
        rate.note(float(second), 1_000_000 + second * 10)

    assert rate.bytes_per_second == pytest.approx(10.0)
