"""WAL put in place for a recovery: where its last whole record ends, however large the one behind it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from test_wal_end import SEGMENT, START, lay_out

from safepoint import errors
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.recovery.staging import stage_wal
from safepoint.recovery.targets import PinnedRecovery, RecoveryTarget, TargetKind, WalPath
from safepoint.repository import create_repository
from safepoint.stores import open_store

ONE, TWO = TimelineId(1), TimelineId(2)


def test_a_record_that_fills_whole_segments_and_was_cut_off_is_not_waited_for(tmp_path: Path) -> None:
    """The goal is the end of the record before it, some segments back: replay never gets further."""
    wal, ends = lay_out([100, 200, 5 * SEGMENT])
    legs = (WalPath(timeline=ONE, start=START, end=START + 4 * SEGMENT),)

    assert staged_end(tmp_path, {ONE: wal}, legs) == START + ends[1]


def test_wal_in_which_no_record_ends_is_not_taken_for_its_own_end(tmp_path: Path) -> None:
    """RC003: its first byte would be replayed by any recovery, and prove nothing."""
    wal, _ = lay_out([200], rest=6 * SEGMENT)

    with pytest.raises(errors.Damaged, match="no record that ends in the WAL from") as caught:
        staged_end(tmp_path, {ONE: wal}, (WalPath(timeline=ONE, start=START, end=START + 4 * SEGMENT),))

    assert caught.value.spec is errors.RC003


def test_segments_of_two_timelines_are_never_read_as_one_stretch(tmp_path: Path) -> None:
    """The second's first segment repeats the first's last: joined, the records of one would be read into the other."""
    first, _ = lay_out([100, 200])
    second, _ = lay_out([300], rest=3 * SEGMENT)
    switch = START + len(first)
    legs = (
        WalPath(timeline=ONE, start=START, end=switch),
        WalPath(timeline=TWO, start=switch, end=START + SEGMENT),
    )

    with pytest.raises(errors.Damaged) as caught:
        staged_end(tmp_path, {ONE: first, TWO: second}, legs)

    assert caught.value.spec is errors.RC003


def staged_end(data: Path, wal: Mapping[TimelineId, bytes], legs: tuple[WalPath, ...]) -> Lsn:
    """The end that staging finds in WAL whose bytes begin at START, held in whole segments padded with zeros."""
    repository = create_repository(open_store("memory:"), None)
    for timeline, content in wal.items():
        history = b"" if timeline == ONE else b"1\t0/0\tswitched\n"
        if history:
            repository.put_history("7", timeline, history)
        for number in range(min(4, -(-len(content) // SEGMENT))):
            segment = WalSegment(timeline, START.value // SEGMENT + number, SEGMENT)
            bytes_ = content[number * SEGMENT : (number + 1) * SEGMENT].ljust(SEGMENT, b"\0")
            repository.put_wal_segment("7", segment, bytes_, history=history, mark=None)
    pinned = PinnedRecovery(
        backup_id="b",
        system_identifier="7",
        timeline=legs[-1].timeline,
        target=RecoveryTarget(kind=TargetKind.LATEST),
        end=legs[-1].end,
        path=legs,
    )
    (data / "pg_wal").mkdir()
    return stage_wal(repository, pinned, SEGMENT, data, lambda _: None)
