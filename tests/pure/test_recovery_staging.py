"""WAL put in place for a recovery: where its last whole record ends, however large the one behind it was."""

from __future__ import annotations

from pathlib import Path

from test_wal_end import SEGMENT, START, lay_out

from safepoint.model.lsn import TimelineId, WalSegment
from safepoint.recovery.staging import stage_wal
from safepoint.recovery.targets import PinnedRecovery, RecoveryTarget, TargetKind, WalPath
from safepoint.repository import create_repository
from safepoint.stores import open_store

ONE = TimelineId(1)


def test_a_record_that_fills_whole_segments_and_was_cut_off_is_not_waited_for(tmp_path: Path) -> None:
    """The goal is the end of the record before it, some segments back: replay never gets further."""
    repository = create_repository(open_store("memory:"), None)
    wal, ends = lay_out([100, 200, 5 * SEGMENT])
    for number in range(4):
        segment = WalSegment(ONE, START.value // SEGMENT + number, SEGMENT)
        data = wal[number * SEGMENT : (number + 1) * SEGMENT]
        repository.put_wal_segment("7", segment, data, history=b"", mark=None)
    end = START + 4 * SEGMENT
    pinned = PinnedRecovery(
        backup_id="b",
        system_identifier="7",
        timeline=ONE,
        target=RecoveryTarget(kind=TargetKind.LATEST),
        end=end,
        path=(WalPath(timeline=ONE, start=START, end=end),),
    )
    (tmp_path / "pg_wal").mkdir()

    assert stage_wal(repository, pinned, SEGMENT, tmp_path, lambda _: None) == START + ends[1]
