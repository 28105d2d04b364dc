"""Which pieces are read for their marks."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coverage_samples import ONE, SEGMENT, at, backup, history, marked, segments
from safepoint import errors
from safepoint.backup.coverage import coverage_of
from safepoint.backup.mark_reading import FEW, MarkReading, read_marks
from safepoint.model.coverage import Mark, PieceTimes, WalPiece
from safepoint.model.history import parse_history
from safepoint.model.lsn import Lsn, TimelineId

MANY = 10_000


def reading_of(
    pieces: Sequence[WalPiece],
    marks: dict[str, Mark],
    *,
    damaged: Collection[str] = (),
    around: Collection[datetime] = (),
    boundaries: Collection[tuple[TimelineId, Lsn]] = (),
) -> tuple[MarkReading, int]:
    """What was read, and how many pieces it took."""
    read: list[str] = []

    def read_times(piece: WalPiece) -> PieceTimes:
        read.append(piece.name)
        if piece.name in damaged:
            raise errors.RP005.error("found zeros, expected an object")
        return PieceTimes(mark=marks.get(piece.name))

    reading = read_marks(pieces, read_times, around=around, boundaries=boundaries)
    assert len(read) == len(set(read)), "no piece is read twice"
    return reading, len(read)


def test_of_few_pieces_all_are_read() -> None:
    """Then nothing is left to chance."""
    pieces = segments(1, FEW + 1)

    reading, count = reading_of(pieces, marked(pieces))

    assert count == FEW
    assert reading.marks == marked(pieces)


def test_of_many_pieces_few_are_read_and_the_ends_are_known() -> None:
    """The first and the newest instant are exact; how many there are costs nothing."""
    pieces = segments(1, MANY)
    marks = marked(pieces)

    reading, count = reading_of(pieces, marks)

    assert count < 100
    for piece in (pieces[0], pieces[-1]):
        assert reading.marks[piece.name] == marks[piece.name]
    few, all_of_them = (
        coverage_of([backup("b", 1, ended=0.5)], pieces, found).intervals[0] for found in (reading.marks, marks)
    )
    assert (few.start, few.end, few.earliest, few.latest) == (
        all_of_them.start,
        all_of_them.end,
        all_of_them.earliest,
        all_of_them.latest,
    )


@settings(max_examples=20)
@given(st.integers(0, 60 * (MANY - 2)))
def test_an_instant_has_the_marks_next_to_it_read(seconds: int) -> None:
    """So that a restore replays not a segment more than with every mark; by halving."""
    pieces = segments(1, MANY)
    marks = marked(pieces)
    instant = at(seconds / 60)

    reading, count = reading_of(pieces, marks, around=[instant, instant + timedelta(seconds=2)])

    assert count < 130
    first = min((mark for mark in marks.values() if mark.clock >= instant), key=lambda mark: mark.lsn)
    known = sorted(reading.marks.values(), key=lambda mark: mark.lsn)
    assert next(mark for mark in known if mark.clock >= instant) == first


def test_a_piece_that_does_not_open_hands_its_part_on_to_the_next() -> None:
    """Damage at an end is a gap, as it is where all is read, and the newest instant is that of what is left."""
    pieces = segments(1, MANY)
    marks = marked(pieces)

    reading, _ = reading_of(pieces, marks, damaged={piece.name for piece in pieces[-3:]})

    assert reading.lost == set(pieces[-3:])
    assert marks[pieces[-4].name] in reading.marks.values()


def test_where_nothing_opens_all_is_read_once() -> None:
    """And nothing is held."""
    pieces = segments(1, FEW + 50)

    reading, count = reading_of(pieces, {}, damaged={piece.name for piece in pieces})

    assert count == len(pieces)
    assert reading.lost == set(pieces)


def test_without_any_mark_the_search_is_given_up() -> None:
    """WAL that was archived by a command has none: no time is known, and few reads say so."""
    pieces = segments(1, MANY)

    reading, count = reading_of(pieces, {}, around=[at(5)])

    assert reading.marks == {}
    assert count < 120


def test_the_last_mark_is_found_behind_pieces_without_one() -> None:
    """A few segments that a backup stored for itself do not hide the newest instant."""
    pieces = segments(1, MANY)
    marks = marked(pieces[:-4])

    reading, _ = reading_of(pieces, marks)

    assert marks[pieces[-5].name] in reading.marks.values()


def test_the_marks_before_a_timeline_was_left_are_read() -> None:
    """What an old primary wrote after the switch proves nothing for the new timeline."""
    pieces = segments(1, MANY)
    ((ancestor),) = parse_history(history((ONE, 777)))

    reading, _ = reading_of(pieces, marked(pieces), boundaries=[(ancestor.timeline, ancestor.switch)])

    assert Lsn(777 * SEGMENT) in {mark.lsn for mark in reading.marks.values()}


@pytest.mark.parametrize("seed", range(5))
def test_marks_that_are_missing_here_and_there_only_widen_what_is_known(seed: int) -> None:
    """The search goes on beside them, and ends."""
    chance = random.Random(seed)
    pieces = segments(1, 3000)
    marks = {name: mark for name, mark in marked(pieces).items() if chance.random() < 0.5}

    reading, count = reading_of(pieces, marks, around=[at(1234.5)])

    assert count < 250
    later = [mark for mark in reading.marks.values() if mark.clock >= at(1234.5)]
    assert min(later, key=lambda mark: mark.lsn).clock < at(1260)
