"""What commits prove of instants: how far, and never further."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from coverage_samples import NOON, ONE, SEGMENT, at, backup, marked, segments
from safepoint.backup.coverage import coverage_of
from safepoint.errors import SafepointError
from safepoint.model.coverage import Commit, Commits, Interval, Mark, WalPiece
from safepoint.model.lsn import Lsn
from safepoint.recovery.choice import choose
from safepoint.recovery.targets import PinnedRecovery, RecoveryTarget, TargetKind

MILLISECOND = timedelta(milliseconds=1)


def commits(piece: WalPiece, first: datetime, last: datetime, latest: datetime | None = None) -> Commits:
    """One that ends 1,000 bytes into the piece, and one 2,000 bytes before its end."""
    return Commits(
        first=Commit(lsn=piece.start + 1000, time=first),
        last=Commit(lsn=piece.end + -2000, time=last),
        latest=latest or max(first, last),
    )


def by_minutes(pieces: list[WalPiece]) -> dict[str, Commits]:
    """Segment 5 has commits from 12:05:15 to 12:05:45."""
    return {
        piece.name: commits(piece, at(number + 0.25), at(number + 0.75))
        for piece in pieces
        for number in [piece.start.value // SEGMENT]
    }


def interval_of(pieces: list[WalPiece], found: dict[str, Commits], marks: dict[str, Mark] | None = None) -> Interval:
    """From one backup that ended in segment 1, at 12:01."""
    (interval,) = coverage_of([backup("one", 1, ended=1)], pieces, marks or {}, commits=found).intervals
    return interval


def pinned(interval: Interval, instant: datetime) -> PinnedRecovery:
    """The recovery to that instant."""
    backups = [backup("one", 1, ended=1)]
    coverage = coverage_of([], [])
    target = RecoveryTarget(kind=TargetKind.TIME, time=instant)
    return choose(target, type(coverage)(intervals=(interval,), gaps=()), backups)


def test_without_a_mark_the_last_commit_is_the_newest_instant() -> None:
    """Everything acknowledged by then stands before it in WAL."""
    pieces = segments(1, 9)

    assert interval_of(pieces, by_minutes(pieces)).latest == at(8.75)


def test_a_later_mark_proves_more() -> None:
    """That nothing was committed after the last commit, which WAL alone does not say."""
    pieces = segments(1, 9)
    mark = Mark(lsn=pieces[-1].end, clock=at(30))

    assert interval_of(pieces, by_minutes(pieces), {pieces[-1].name: mark}).latest == at(30)


def test_commits_before_the_backup_ended_prove_nothing_of_it() -> None:
    """Recovery from it does not meet them again."""
    pieces = segments(1, 2)
    found = {
        pieces[0].name: Commits(
            first=Commit(lsn=Lsn(SEGMENT + 300), time=at(2)),
            last=Commit(lsn=Lsn(SEGMENT + 300), time=at(2)),
            latest=at(2),
        )
    }

    assert interval_of(pieces, found).latest is None


def test_commits_out_of_order_are_as_good_as_their_latest() -> None:
    """Sessions overtake each other by milliseconds: an instant between stops at the later one, which is held."""
    pieces = segments(1, 3)
    found = {pieces[1].name: commits(pieces[1], at(2), at(3), at(3) + MILLISECOND)}

    assert interval_of(pieces, found).latest == at(3) + MILLISECOND


def test_a_time_from_before_a_clock_was_set_back_proves_nothing() -> None:
    """The commit that bore it may lie before the backup ended, in the same segment; then nothing stops there."""
    pieces = segments(1, 3)
    found = {pieces[0].name: commits(pieces[0], at(1.5), at(2), at(40))}
    interval = interval_of(pieces, found)

    assert interval.earliest == at(40), "instants that came twice are not begun from this backup"
    assert interval.latest is None


def test_an_instant_between_marks_is_pinned_by_the_commit_behind_it() -> None:
    """Recovery stops there: WAL up to the mark, segments later, is not needed."""
    pieces = segments(1, 9)
    marks = {pieces[-1].name: marked(pieces)[pieces[-1].name]}

    with_commits = pinned(interval_of(pieces, by_minutes(pieces), marks), at(4.5))
    without = pinned(interval_of(pieces, {}, marks), at(4.5))

    assert with_commits.end == Lsn(5 * SEGMENT - 2000)
    assert with_commits.path[-1].end == Lsn(5 * SEGMENT)
    assert without.path[-1].end == Lsn(9 * SEGMENT)


def test_the_instant_of_a_commit_is_had_with_the_commit() -> None:
    """The first later one is what ends recovery."""
    pieces = segments(1, 9)

    found = pinned(interval_of(pieces, by_minutes(pieces)), at(4.75))

    assert found.end == Lsn(5 * SEGMENT - 2000)
    assert found.path[-1].end == Lsn(6 * SEGMENT)


def test_an_instant_after_the_last_commit_is_refused() -> None:
    """Whether more was committed before it, nobody knows."""
    pieces = segments(1, 9)

    with pytest.raises(SafepointError, match="RC001"):
        pinned(interval_of(pieces, by_minutes(pieces)), at(8.75) + timedelta(microseconds=1))


def test_adding_commits_never_takes_an_instant_away() -> None:
    """Clocks that only go forward."""
    pieces, few = segments(1, 40), segments(1, 20)
    marks = marked(pieces)

    plain = interval_of(pieces, {}, marks)
    more = interval_of(pieces, by_minutes(few), marks)

    assert more.latest == plain.latest
    assert more.earliest == plain.earliest == NOON + timedelta(minutes=1)
    assert {mark.lsn for mark in plain.marks} <= {mark.lsn for mark in more.marks}
    assert more.timeline == ONE
