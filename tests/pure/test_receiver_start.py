"""Where a receiver goes on: at the first byte that is lacking and still to be had."""

from __future__ import annotations

import pytest

from safepoint.backup.receiver_start import first_lacking
from safepoint.model.coverage import WalPath
from safepoint.model.history import Ancestor
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.replication import PhysicalSlot

ONE, TWO = TimelineId(1), TimelineId(2)
SWITCH = (Ancestor(timeline=ONE, switch=Lsn(60)),)


def slot(timeline: TimelineId | None, lsn: int | None) -> PhysicalSlot:
    return PhysicalSlot(name="s", restart_lsn=None if lsn is None else Lsn(lsn), restart_timeline=timeline)


def span(timeline: TimelineId, start: int, end: int) -> WalPath:
    return WalPath(timeline=timeline, start=Lsn(start), end=Lsn(end))


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (20, 30),  # the slot keeps what lies before a hole: the hole is filled
        (30, 30),
        (35, 35),  # in the hole: what the slot has let go was acknowledged
        (50, 50),
        (70, 50),  # a new slot beyond everything held: the hole is asked for, and named if it is gone
        (None, 50),
    ],
)
def test_wal_that_a_backup_stored_behind_a_hole_is_no_progress(kept: int | None, expected: int) -> None:
    """Held [10, 30) and, by a backup, [40, 50)."""
    spans = {ONE: (span(ONE, 10, 30), span(ONE, 40, 50))}

    assert first_lacking(spans, slot(ONE if kept else None, kept), ONE, ()) == (ONE, Lsn(expected))


def test_nothing_held_of_this_history_is_none() -> None:
    """A timeline of another branch does not count."""
    assert first_lacking({TimelineId(3): (span(TimelineId(3), 0, 90),)}, slot(None, None), TWO, SWITCH) is None


def test_a_slot_on_the_ancestor_comes_before_wal_held_of_the_descendant() -> None:
    """A backup after a promotion does not hide what the receiver had not fetched before it."""
    spans = {ONE: (span(ONE, 10, 30),), TWO: (span(TWO, 60, 90),)}

    assert first_lacking(spans, slot(ONE, 25), TWO, SWITCH) == (ONE, Lsn(30))


def test_what_an_old_primary_wrote_after_the_switch_is_passed_over() -> None:
    """The history goes on at the switch."""
    assert first_lacking({ONE: (span(ONE, 10, 80),)}, slot(None, None), TWO, SWITCH) == (ONE, Lsn(60))
