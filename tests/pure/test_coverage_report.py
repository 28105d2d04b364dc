"""What a coverage report says: which backup restores what, the window, the speed, and why WAL is missing."""

from __future__ import annotations

import random
import time
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coverage_samples import ONE, SEGMENT, THREE, TWO, at, backup, gap, history, marked, segments
from safepoint.backup.coverage import coverage_of, marks_by_timeline, spans_of
from safepoint.backup.reach import Evidence, losses_of, reaches_of, window_start_of
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Coverage, Mark, WalPiece
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.reach import Cause, CoverageReport, Lineage, Loss, Reach, Within
from safepoint.model.speed import Speed, speed_of

UNKNOWN = Speed(write=None, replay=None, other_seconds=0.0, restores=0)
EARLY, LATE = backup("early", 2, ended=1.5), backup("late", 6, ended=5.5)


def reaches(coverage: Coverage, backups: list[BackupManifest], timeline: TimelineId = ONE) -> tuple[Reach, ...]:
    """Without a window, at unknown speed."""
    return reaches_of(coverage, backups, timeline, speed=UNKNOWN)


def losses(
    backups: list[BackupManifest],
    pieces: list[WalPiece],
    *,
    histories: dict[TimelineId, bytes] | None = None,
    lost: list[WalPiece] | None = None,
    stored: list[WalPiece] | None = None,
    expired: list[WalPiece] | None = None,
) -> tuple[Loss, ...]:
    """What is missing, with marks on every piece held."""
    marks = marked(pieces)
    coverage = coverage_of(backups, pieces, marks, histories, lost=lost or [])
    evidence = Evidence(
        damaged=spans_of(lost or []),
        stored_once=spans_of(stored or []),
        expired=spans_of(expired or []),
        marks=marks_by_timeline(pieces, marks),
    )
    return losses_of(coverage, backups, evidence)


def test_each_stretch_is_restored_from_the_newest_backup_before_it() -> None:
    """Up to the next backup's end, which is an instant known without any mark; the last one up to the newest mark."""
    pieces = segments(1, 10)

    first, second = reaches(coverage_of([EARLY, LATE], pieces, marked(pieces)), [EARLY, LATE])

    assert (first.backup_id, first.start, first.end) == ("early", EARLY.stop_lsn, LATE.stop_lsn)
    assert (first.earliest, first.latest) == (at(1.5), at(5.5))
    assert first.wal_bytes == LATE.stop_lsn - EARLY.start_lsn
    assert (first.own_end, first.own_latest) == (Lsn(10 * SEGMENT), at(9))
    assert (second.start, second.end, second.latest) == (LATE.stop_lsn, Lsn(10 * SEGMENT), at(9))


def test_a_gap_between_two_backups_ends_the_first_ones_stretch() -> None:
    """And what lies between the gap and the next backup is nobody's."""
    pieces = [*segments(1, 4), *segments(5, 10)]

    first, second = reaches(coverage_of([EARLY, LATE], pieces, marked(pieces)), [EARLY, LATE])

    assert (first.end, first.latest) == (Lsn(4 * SEGMENT), at(3))
    assert second.start == LATE.stop_lsn


def test_a_timeline_promoted_to_begins_with_the_segment_of_the_switch() -> None:
    """Before it, the old timeline's own lineage speaks; its first instant is what its first mark tells."""
    pieces = [*segments(1, 5), *segments(4, 8, TWO)]
    coverage = coverage_of([EARLY], pieces, marked(pieces), {TWO: history((ONE, 4))})

    (promoted,) = reaches(coverage, [EARLY], TWO)

    assert (promoted.start, promoted.end) == (Lsn(4 * SEGMENT), Lsn(8 * SEGMENT))
    assert promoted.earliest == at(3)
    assert promoted.wal_bytes == Lsn(8 * SEGMENT) - EARLY.start_lsn


def test_without_marks_the_end_has_no_instant() -> None:
    """Where no time is known it says so."""
    (only,) = reaches(coverage_of([EARLY], segments(1, 5)), [EARLY])

    assert (only.earliest, only.latest) == (at(1.5), None)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (2, [Within.BEFORE, Within.ACROSS]),
        (5, [Within.ACROSS, Within.WINDOW]),
        (20, [Within.WINDOW, Within.WINDOW]),
    ],
)
def test_the_newest_backup_before_the_window_serves_its_beginning(keep: int, expected: list[Within]) -> None:
    """Older ones are left with their end, once WAL expires."""
    pieces = segments(1, 10)
    coverage = coverage_of([EARLY, LATE], pieces, marked(pieces))

    newest, start = window_start_of(coverage, timedelta(minutes=keep))
    found = reaches_of(coverage, [EARLY, LATE], ONE, speed=UNKNOWN, window_start=start)

    assert newest == at(9)
    assert [reach.within for reach in found] == expected


@pytest.mark.parametrize(
    ("missing", "from_minute", "is_covered"),
    [(None, 5, True), (7, 5, False), (3, 5, False), (3, 6, True), (None, 1, True)],
)
def test_a_window_is_covered_when_no_instant_in_it_is_missing(
    missing: int | None, from_minute: int, *, is_covered: bool
) -> None:
    """What is missing before it takes nothing away; before the first backup ended nothing could be restored."""
    pieces = [piece for piece in segments(1, 10) if missing is None or piece.start != Lsn(missing * SEGMENT)]
    coverage = coverage_of([EARLY, LATE], pieces, marked(pieces))
    report = CoverageReport(
        database="shop",
        cluster="7",
        newest=at(9),
        window_start=at(from_minute),
        lineages=(Lineage(timeline=ONE, name="", is_followed=True, reaches=reaches(coverage, [EARLY, LATE])),),
        losses=(),
        speed=UNKNOWN,
    )

    assert report.is_window_covered is is_covered


def test_a_hole_between_a_backup_and_the_first_streamed_segment_is_named() -> None:
    """Nothing lies before it, so that no audit of holes between segments would see it."""
    (loss,) = losses([EARLY], segments(3, 6))

    assert (loss.start, loss.end, loss.cause) == (EARLY.start_lsn, EARLY.stop_lsn, Cause.BEFORE_STREAM)
    assert not loss.is_harmless


def test_what_a_lost_slot_let_go_is_named_up_to_the_exact_boundary_of_segments() -> None:
    """With the instants around it."""
    (loss,) = losses([EARLY], [*segments(1, 4), *segments(5, 8)])

    assert (loss.start, loss.end) == (gap(4, 5).start, gap(4, 5).end)
    assert loss.cause is Cause.NOT_RECEIVED
    assert (loss.after, loss.before) == (at(3), at(5))


def test_a_missing_history_is_named_with_all_that_hangs_on_it() -> None:
    """PostgreSQL would land on the old timeline without a word."""
    pieces = [*segments(1, 4), *segments(3, 6, TWO), *segments(5, 9, THREE)]

    (loss,) = losses([EARLY], pieces, histories={THREE: history((ONE, 3), (TWO, 5))})

    assert (loss.timeline, loss.start, loss.cause) == (TWO, Lsn(0), Cause.HISTORY)


def test_a_segment_missing_with_later_ones_behind_it_ends_what_can_be_restored() -> None:
    """Whatever follows counts for nothing: `latest` must not skip it in silence."""
    pieces = [*segments(1, 4), *segments(5, 30)]

    coverage = coverage_of([EARLY], pieces, marked(pieces))

    assert coverage.intervals[0].end == Lsn(4 * SEGMENT)
    assert coverage.intervals[0].latest == at(3)
    assert coverage.gaps == (gap(4, 5),)


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        ({"lost": segments(4, 5)}, Cause.DAMAGED),
        ({"stored": segments(1, 8)}, Cause.DELETED),
        ({"stored": segments(1, 8), "expired": segments(4, 5)}, Cause.EXPIRED),
    ],
)
def test_damage_and_deletion_are_told_from_what_never_arrived(told: dict[str, list[WalPiece]], cause: Cause) -> None:
    """By what is listed and does not open, and by what the journal says."""
    held = [*segments(1, 4), *segments(5, 8)]

    (loss,) = losses([EARLY], held, lost=told.get("lost"), stored=told.get("stored"), expired=told.get("expired"))

    assert loss.cause is cause


def test_a_hole_before_every_backup_concerns_none() -> None:
    """It is named all the same."""
    (loss,) = losses([LATE], [*segments(1, 2), *segments(4, 9)])

    assert loss.is_harmless


def test_the_largest_restores_tell_how_fast_it_goes() -> None:
    """What says nothing, or is of a backup that is gone, is passed over; little WAL says nothing of replay."""
    seconds = {"check": 1, "write": 10.0, "recover": 5.0, "prove-server": 2.0}
    small = {"backup": "early", "replayed": str(EARLY.start_lsn + SEGMENT), "seconds": seconds}
    large = {"backup": "early", "replayed": str(EARLY.start_lsn + 100 * SEGMENT), "seconds": seconds}
    useless = [{}, {"backup": "gone", **large}, {**large, "seconds": {}}, {**large, "replayed": "?"}]

    assert speed_of(useless[:1], [EARLY]) == UNKNOWN
    alone = speed_of([small], [EARLY])
    assert (alone.replay, alone.seconds(0, SEGMENT)) == (None, None)
    both = speed_of([small, *useless, large], [EARLY])
    assert both.write == 100 * SEGMENT
    assert both.replay == 20 * SEGMENT
    assert both.seconds(1000 * SEGMENT, 40 * SEGMENT) == 10 + 2 + 3


@settings(max_examples=50)
@given(st.data())
def test_more_wal_never_restores_less_and_no_interval_spans_a_missing_byte(data: st.DataObject) -> None:
    """In whatever order it is listed."""
    whole = segments(1, 16)
    held = data.draw(st.lists(st.sampled_from(whole), unique=True))
    added = data.draw(st.sampled_from(whole))
    backups = [EARLY, LATE]

    before = {found.backup_id: found.end for found in coverage_of(backups, held).intervals}
    shuffled = data.draw(st.permutations([*held, added]))
    after = coverage_of(backups, shuffled)

    ends = {found.backup_id: found.end for found in after.intervals}
    assert all(name in ends and ends[name] >= end for name, end in before.items())
    assert after == coverage_of(backups, [*held, added])
    there = {piece.start for piece in (*held, added)}
    for interval in after.intervals:
        first = interval.path[0].start.segment_start(SEGMENT)
        assert all(Lsn(start) in there for start in range(first.value, interval.end.value, SEGMENT)), (
            "every segment of the way is held"
        )


def test_a_hundred_thousand_pieces_take_less_than_a_second() -> None:
    """Thirty-five days of a busy server with a backup a day, a mark on each segment; also when every other is gone."""
    pieces = segments(1, 100_001)
    marks = marked(pieces)
    backups = [backup(f"b{day}", 1 + day * 2800, ended=day * 2800 + 0.5) for day in range(35)]
    random.Random(7).shuffle(pieces)

    began = time.process_time()
    coverage = coverage_of(backups, pieces, marks)
    took = time.process_time() - began

    assert len(coverage.intervals) == 35
    assert took < 1.0


def test_a_clock_that_was_set_back_moves_the_first_instant_of_a_later_backup() -> None:
    """Its end came twice: a recovery to that instant ends before the backup, and an older one leads there."""
    pieces = segments(1, 10)
    marks = {piece.name: Mark(lsn=piece.end, clock=at(n if n < 5 else n - 3)) for n, piece in enumerate(pieces)}
    late = backup("late", 7, ended=3.5)

    by_marks = coverage_of([EARLY, late], pieces, marks).intervals[1]
    by_record = coverage_of(
        [EARLY, late], pieces, {}, steps={ONE: [Mark(lsn=Lsn(5 * SEGMENT), clock=at(4.7))]}
    ).intervals[1]

    assert by_marks.earliest == at(4)
    assert by_record.earliest == at(4.7)


def test_a_clock_that_was_a_day_ahead_takes_no_instant_away() -> None:
    """It was wrong: what it said must not hide what came in its turn."""
    pieces = segments(1, 10)
    marks = marked(pieces)
    marks[pieces[2].name] = Mark(lsn=pieces[2].end, clock=at(60 * 24 * 365))

    coverage = coverage_of([EARLY, LATE], pieces, marks)

    assert coverage.intervals[1].earliest == LATE.stopped_at
