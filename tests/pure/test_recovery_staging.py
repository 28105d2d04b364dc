"""WAL put in place for a recovery: where its last whole record ends, however large the one behind it was."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from test_wal_end import SEGMENT, START, lay_out

from safepoint import errors
from safepoint.model.coverage import WalPath
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.recovery.staging import HeldWal, held_wal
from safepoint.repository import create_repository
from safepoint.stores import open_store

ONE, TWO = TimelineId(1), TimelineId(2)


def test_a_record_that_fills_whole_segments_and_was_cut_off_is_not_waited_for() -> None:
    """The goal is the end of the record before it, some segments back: replay never gets further."""
    wal, ends = lay_out([100, 200, 5 * SEGMENT])
    legs = (WalPath(timeline=ONE, start=START, end=START + 4 * SEGMENT),)

    assert staged_end({ONE: wal}, legs) == START + ends[1]


def test_wal_in_which_no_record_ends_is_not_taken_for_its_own_end() -> None:
    """RC003: its first byte would be replayed by any recovery, and prove nothing."""
    wal, _ = lay_out([200], rest=6 * SEGMENT)

    with pytest.raises(errors.Damaged, match="no record that ends in the WAL from") as caught:
        staged_end({ONE: wal}, (WalPath(timeline=ONE, start=START, end=START + 4 * SEGMENT),))

    assert caught.value.spec is errors.RC003


def test_segments_of_two_timelines_are_never_read_as_one_stretch() -> None:
    """The second's first segment repeats the first's last: joined, the records of one would be read into the other."""
    first, _ = lay_out([100, 200])
    second, _ = lay_out([300], rest=3 * SEGMENT)
    switch = START + len(first)
    legs = (
        WalPath(timeline=ONE, start=START, end=switch),
        WalPath(timeline=TWO, start=switch, end=START + SEGMENT),
    )

    with pytest.raises(errors.Damaged) as caught:
        staged_end({ONE: first, TWO: second}, legs)

    assert caught.value.spec is errors.RC003


def test_a_segment_is_put_together_of_its_ranges_and_ends_in_zeros() -> None:
    """Only as far as the path goes: what is held behind belongs to another end."""
    wal, _ = lay_out([300, 400])
    repository = create_repository(open_store("memory:"), None)
    for begin, end in ((0, 500), (200, 700)):
        repository.put_wal_range("7", ONE, START + begin, wal[begin:end], history=b"", mark=None)
    legs = (WalPath(timeline=ONE, start=START, end=START + 600),)
    held = held_wal(repository, repository.wal_pieces("7"), legs, SEGMENT)

    (segment,) = held.segments()
    assert held.read(segment) == wal[:600].ljust(SEGMENT, b"\0")


def test_a_byte_that_is_not_listed_is_missed_before_anything_is_read() -> None:
    """WL002 says from where to where."""
    wal, _ = lay_out([100], rest=3 * SEGMENT)
    legs = (WalPath(timeline=ONE, start=START, end=START + 2 * SEGMENT + 10),)
    held = held_in_segments({ONE: wal}, legs, leave_out=1)

    with pytest.raises(
        errors.Damaged, match=f"up to {START + SEGMENT}, expected it up to {START + 2 * SEGMENT}"
    ) as caught:
        held.require_listed()

    assert caught.value.spec is errors.WL002


def staged_end(wal: Mapping[TimelineId, bytes], legs: tuple[WalPath, ...]) -> Lsn:
    """The end found in WAL whose bytes begin at START, held in whole segments padded with zeros."""
    return held_in_segments(wal, legs).last_record_end()


def held_in_segments(
    wal: Mapping[TimelineId, bytes], legs: tuple[WalPath, ...], leave_out: int | None = None
) -> HeldWal:
    """WAL in a repository, all but one segment."""
    repository = create_repository(open_store("memory:"), None)
    for timeline, content in wal.items():
        history = b"" if timeline == ONE else b"1\t0/0\tswitched\n"
        if history:
            repository.put_history("7", timeline, history)
        for number in range(min(4, -(-len(content) // SEGMENT))):
            segment = WalSegment(timeline, START.value // SEGMENT + number, SEGMENT)
            bytes_ = content[number * SEGMENT : (number + 1) * SEGMENT].ljust(SEGMENT, b"\0")
            if number != leave_out:
                repository.put_wal_segment("7", segment, bytes_, history=history, mark=None)
    return held_wal(repository, repository.wal_pieces("7"), legs, SEGMENT)
