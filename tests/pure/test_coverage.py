"""Coverage: exact arithmetic over pieces of WAL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from safepoint.backup.coverage import contiguous_end, coverage_of, spans_of
from safepoint.model.backup import BackupManifest, BlobRef
from safepoint.model.coverage import Gap, Mark, WalPiece
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.version import PgVersion

SEGMENT = 1 << 20
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE, TWO = TimelineId(1), TimelineId(2)


def backup(start: int, stop: int, timeline: TimelineId = ONE, name: str = "b") -> BackupManifest:
    return BackupManifest(
        id=name,
        database="shop",
        tier="daily",
        system_identifier="7",
        version=PgVersion(180006),
        segment_size=SEGMENT,
        timeline=timeline,
        start_lsn=Lsn(start),
        stop_lsn=Lsn(stop),
        started_at=NOON,
        stopped_at=NOON + timedelta(minutes=1),
        has_checksums=True,
        root=BlobRef(id=bytes(32), pack=bytes(32), offset=0, length=0, raw_length=0),
        file_count=0,
        raw_bytes=0,
        added_bytes=0,
    )


def piece(start: int, end: int, timeline: TimelineId = ONE) -> WalPiece:
    is_whole = start % SEGMENT == 0 and end - start == SEGMENT
    return WalPiece(
        timeline=timeline, start=Lsn(start), end=Lsn(end), name=f"{timeline}:{start}-{end}", is_partial=not is_whole
    )


def gap(start: int, end: int, timeline: TimelineId = ONE) -> Gap:
    return Gap(timeline=timeline, start=Lsn(start), end=Lsn(end))


def segments(first: int, last: int, timeline: TimelineId = ONE) -> list[WalPiece]:
    return [piece(number * SEGMENT, (number + 1) * SEGMENT, timeline) for number in range(first, last)]


def end_of(pieces: list[WalPiece], timeline: TimelineId = ONE) -> Lsn | None:
    coverage = coverage_of([backup(SEGMENT + 40, SEGMENT + 400)], pieces)
    return next((interval.end for interval in coverage.intervals if interval.timeline == timeline), None)


def test_an_interval_reaches_from_the_backups_stop_to_the_last_contiguous_byte() -> None:
    """The open segment's ranges count for what they hold, and not a byte more."""
    pieces = [*segments(1, 4), piece(4 * SEGMENT, 4 * SEGMENT + 100), piece(4 * SEGMENT + 100, 4 * SEGMENT + 150)]

    (interval,) = coverage_of([backup(SEGMENT + 40, SEGMENT + 400)], pieces).intervals

    assert (interval.start, interval.end) == (Lsn(SEGMENT + 400), Lsn(4 * SEGMENT + 150))


def test_a_missing_segment_is_a_gap_and_ends_the_interval() -> None:
    """Later WAL behind a hole is never counted."""
    coverage = coverage_of([backup(SEGMENT + 40, SEGMENT + 400)], [*segments(1, 3), *segments(4, 6)])

    assert coverage.gaps == (Gap(timeline=ONE, start=Lsn(3 * SEGMENT), end=Lsn(4 * SEGMENT)),)
    assert coverage.intervals[0].end == Lsn(3 * SEGMENT)


def test_a_backup_whose_own_wal_is_missing_covers_nothing() -> None:
    """The hole between a base backup and the first streamed segment is a gap although nothing lies before it."""
    coverage = coverage_of([backup(SEGMENT + 40, SEGMENT + 400)], segments(2, 5))

    assert coverage.intervals == ()
    assert coverage.gaps == (Gap(timeline=ONE, start=Lsn(SEGMENT + 40), end=Lsn(SEGMENT + 400)),)


def test_marks_beyond_the_held_wal_prove_nothing() -> None:
    """The newest provable instant is that of a mark whose position is held."""
    held, beyond = piece(SEGMENT, 2 * SEGMENT), piece(3 * SEGMENT, 4 * SEGMENT)
    marks = {
        held.name: Mark(lsn=Lsn(2 * SEGMENT), clock=NOON + timedelta(minutes=5)),
        beyond.name: Mark(lsn=Lsn(4 * SEGMENT), clock=NOON + timedelta(minutes=9)),
    }

    (interval,) = coverage_of([backup(SEGMENT + 40, SEGMENT + 400)], [held, beyond], marks).intervals

    assert interval.latest == NOON + timedelta(minutes=5)


def test_without_marks_no_instant_is_claimed() -> None:
    """Unknown stays unknown."""
    (interval,) = coverage_of([backup(SEGMENT + 40, SEGMENT + 400)], segments(1, 3)).intervals

    assert interval.latest is None


def test_wal_of_a_promoted_server_continues_a_backup_of_the_old_timeline() -> None:
    """Along the stored history, the new timeline's first segment standing in for the old one's last."""
    switch = 3 * SEGMENT + 500
    history = f"1\t{Lsn(switch)}\tno recovery target specified\n".encode()
    pieces = [*segments(1, 3), *segments(3, 6, TWO)]

    coverage = coverage_of([backup(SEGMENT + 40, SEGMENT + 400)], pieces, {}, {TWO: history})

    newest = coverage.intervals[-1]
    assert (newest.timeline, newest.end) == (TWO, Lsn(6 * SEGMENT))
    assert [leg.timeline for leg in newest.path] == [ONE, TWO]


def test_without_its_history_a_timeline_continues_nothing() -> None:
    """An unknown ancestry only ever makes coverage smaller."""
    pieces = [*segments(1, 3), *segments(3, 6, TWO)]

    for histories in ({}, {TWO: b"not a history"}):
        coverage = coverage_of([backup(SEGMENT + 40, SEGMENT + 400)], pieces, {}, histories)
        assert [interval.timeline for interval in coverage.intervals] == [ONE]


def test_whatever_keeps_a_backup_from_a_newer_timeline_is_a_gap() -> None:
    """A history that is lost, an ancestor's last segment, the timeline's own first: none may look like the end."""
    history = f"1\t{Lsn(3 * SEGMENT + 500)}\tx\n".encode()
    second = segments(3, 6, TWO)

    def gaps(pieces: list[WalPiece], histories: dict[TimelineId, bytes]) -> tuple[Gap, ...]:
        return coverage_of([backup(SEGMENT + 40, SEGMENT + 400)], pieces, {}, histories).gaps

    assert gaps([*segments(1, 3), *second], {TWO: history}) == ()
    assert gaps([*segments(1, 3), *second], {}) == (gap(0, 3 * SEGMENT, TWO),)
    assert gaps([*segments(1, 2), *second], {TWO: history}) == (gap(2 * SEGMENT, 3 * SEGMENT),)
    assert gaps([*segments(1, 3), *second[1:]], {TWO: history}) == (gap(3 * SEGMENT, 4 * SEGMENT, TWO),)


def test_what_is_listed_and_does_not_open_is_a_gap() -> None:
    """Also behind everything that is held: it must not look as if nothing followed."""
    whole = segments(1, 5)

    coverage = coverage_of([backup(SEGMENT + 40, SEGMENT + 400)], whole[:3], lost=whole[3:])

    assert coverage.intervals[0].end == Lsn(4 * SEGMENT)
    assert coverage.gaps == (gap(4 * SEGMENT, 5 * SEGMENT),)


def test_a_backup_taken_after_the_switch_is_not_continued_by_the_new_timeline() -> None:
    """What an old primary wrote after the switch is another history."""
    history = f"1\t{Lsn(SEGMENT + 300)}\tx\n".encode()

    coverage = coverage_of(
        [backup(SEGMENT + 40, SEGMENT + 400)], [*segments(1, 3), *segments(1, 6, TWO)], {}, {TWO: history}
    )

    assert [interval.timeline for interval in coverage.intervals] == [ONE]


@given(st.integers(0, 9), st.integers(3, 10))
def test_a_removed_segment_always_shows(removed: int, count: int) -> None:
    """As a gap, as a shorter end, or as a backup that covers nothing; unless no backup needs it."""
    whole = segments(1, 1 + count)
    less = [kept for kept in whole if kept.start != Lsn((removed + 1) * SEGMENT)]
    if len(less) == len(whole):
        return

    before = coverage_of([backup(SEGMENT + 40, SEGMENT + 400)], whole)
    after = coverage_of([backup(SEGMENT + 40, SEGMENT + 400)], less)

    assert after.gaps or not after.intervals or after.intervals[0].end < before.intervals[0].end


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20))), st.tuples(st.integers(0, 60), st.integers(1, 20)))
def test_adding_a_piece_never_shrinks_what_is_held(held: list[tuple[int, int]], added: tuple[int, int]) -> None:
    """In whatever order and with whatever overlaps pieces come."""
    pieces = [piece(start, start + length) for start, length in held]

    before, after = spans_of(pieces), spans_of([*pieces, piece(added[0], sum(added))])

    for lsn in map(Lsn, range(90)):
        assert contiguous_end(after, ONE, lsn) >= contiguous_end(before, ONE, lsn)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20))))
def test_spans_hold_exactly_the_bytes_of_the_pieces(held: list[tuple[int, int]]) -> None:
    """No byte is invented, none is lost, and no two spans touch."""
    pieces = [piece(start, start + length) for start, length in held]

    spans = spans_of(pieces).get(ONE, ())

    assert {byte for span in spans for byte in range(span.start.value, span.end.value)} == {
        byte for start, length in held for byte in range(start, start + length)
    }
    assert all(one.end < other.start for one, other in pairwise(spans))
