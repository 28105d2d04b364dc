"""Recovery targets: what is understood, what is chosen, what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from test_coverage import NOON, ONE, SEGMENT, backup

from safepoint import errors
from safepoint.model.coverage import Coverage, Gap, Interval, Mark, WalPath
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.recovery.targets import TargetKind, choose, parse_target, pinned_from_json, pinned_to_json

END = 5 * SEGMENT + 700


def interval(name: str, start: int, minutes: int) -> Interval:
    marks = tuple(
        Mark(lsn=Lsn(2 * SEGMENT + number * SEGMENT), clock=NOON + timedelta(minutes=10 * (number + 1)))
        for number in range(3)
    )
    return Interval(
        backup_id=name,
        timeline=ONE,
        start=Lsn(start),
        end=Lsn(END),
        earliest=NOON + timedelta(minutes=minutes),
        latest=marks[-1].clock,
        path=(WalPath(timeline=ONE, start=Lsn(start - 300), end=Lsn(END)),),
        marks=marks,
    )


BACKUPS = (backup(SEGMENT + 40, SEGMENT + 340, name="old"), backup(2 * SEGMENT + 40, 2 * SEGMENT + 340, name="new"))
COVERAGE = Coverage(intervals=(interval("old", SEGMENT + 340, 1), interval("new", 2 * SEGMENT + 340, 12)), gaps=())


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("latest", TargetKind.LATEST, "latest"),
        ("0/3000028", TargetKind.LSN, "0/3000028"),
        ("2026-03-01T13:00:00+01:00", TargetKind.TIME, "2026-03-01 12:00:00.000 UTC"),
        ("2026-03-01 12:00", TargetKind.TIME, "2026-03-01 12:00:00.000 UTC (no zone given, UTC assumed)"),
    ],
)
def test_a_target_says_what_it_was_understood_as(text: str, kind: TargetKind, shown: str) -> None:
    """The zone is always shown, and an assumed one is called assumed."""
    target = parse_target(text)

    assert (target.kind, str(target)) == (kind, shown)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "0/XYZ", "12:00", "2026-13-01T00:00Z", "0/3000028 "[:2], "0001-01-01T00:00+14:00"]
)
def test_nonsense_is_refused_with_examples(text: str) -> None:
    """RC005 shows all three forms."""
    with pytest.raises(errors.Misconfigured) as caught:
        parse_target(text)

    assert caught.value.spec is errors.RC005


def test_the_newest_backup_that_ended_before_the_target_is_chosen() -> None:
    """A later backup cannot reach an earlier instant."""
    early = choose(parse_target((NOON + timedelta(minutes=11)).isoformat()), COVERAGE, BACKUPS)
    late = choose(parse_target((NOON + timedelta(minutes=13)).isoformat()), COVERAGE, BACKUPS)

    assert (early.backup_id, late.backup_id) == ("old", "new")


def test_a_time_is_pinned_to_the_first_mark_at_or_after_it() -> None:
    """Everything committed by then lies before that mark; its whole segment is had, and no more."""
    pinned = choose(parse_target((NOON + timedelta(minutes=15)).isoformat()), COVERAGE, BACKUPS)

    assert pinned.end == Lsn(3 * SEGMENT)
    assert pinned.path[-1].end == Lsn(4 * SEGMENT)


def test_an_lsn_is_pinned_to_itself_and_its_segment_is_had_whole() -> None:
    """A record that the end cuts through can be completed."""
    pinned = choose(parse_target(str(Lsn(4 * SEGMENT + 8))), COVERAGE, BACKUPS)

    assert (pinned.end, pinned.path[-1].end) == (Lsn(4 * SEGMENT + 8), Lsn(5 * SEGMENT))


def test_latest_is_pinned_to_the_last_byte_held() -> None:
    """Not to whatever will be there when the restore runs."""
    assert choose(parse_target("latest"), COVERAGE, BACKUPS).end == Lsn(END)


@pytest.mark.parametrize(
    "target",
    [
        (NOON - timedelta(hours=1)).isoformat(),
        (NOON + timedelta(seconds=59)).isoformat(),
        (NOON + timedelta(minutes=30, microseconds=1)).isoformat(),
        str(Lsn(SEGMENT)),
        str(Lsn(END + 1)),
    ],
)
def test_what_cannot_be_reached_is_refused_with_what_can(target: str) -> None:
    """Before the first backup's end, and beyond what marks or WAL prove."""
    with pytest.raises(errors.Refused) as caught:
        choose(parse_target(target), COVERAGE, BACKUPS)

    assert caught.value.spec is errors.RC001
    assert str(Lsn(END)) in caught.value.message
    assert any(f"--to {Lsn(END)}" in hint.text for hint in caught.value.hints)


def test_latest_before_a_hole_is_refused_unless_asked_for_by_position() -> None:
    """Later WAL exists: restoring up to the hole would lose it silently."""
    holed = Coverage(intervals=COVERAGE.intervals, gaps=(Gap(timeline=ONE, start=Lsn(END), end=Lsn(7 * SEGMENT)),))

    with pytest.raises(errors.Refused) as caught:
        choose(parse_target("latest"), holed, BACKUPS)

    assert str(Lsn(END)) in caught.value.message
    assert choose(parse_target(str(Lsn(END))), holed, BACKUPS).end == Lsn(END)


def test_latest_is_refused_when_a_newer_timeline_cannot_be_reached() -> None:
    """Landing on the old timeline would lose everything since the switch, silently."""
    holed = Coverage(
        intervals=COVERAGE.intervals, gaps=(Gap(timeline=TimelineId(2), start=Lsn(0), end=Lsn(4 * SEGMENT)),)
    )

    with pytest.raises(errors.Refused, match="timeline 2"):
        choose(parse_target("latest"), holed, BACKUPS)


def test_with_no_backup_nothing_can_be_reached() -> None:
    """And the refusal says so."""
    with pytest.raises(errors.Refused, match="nothing"):
        choose(parse_target("latest"), Coverage(intervals=(), gaps=()), ())


@pytest.mark.parametrize("text", ["latest", str(Lsn(END)), (NOON + timedelta(minutes=15)).isoformat()])
def test_a_pinned_recovery_survives_a_plan(text: str) -> None:
    """It is JSON in a step's arguments, and equal when read back."""
    pinned = choose(parse_target(text), COVERAGE, BACKUPS)

    assert pinned_from_json(json.loads(json.dumps(pinned_to_json(pinned)))) == pinned


def test_a_time_with_an_offset_is_the_same_instant() -> None:
    """Plans of the same instant are the same plan."""
    assert parse_target("2026-03-01T13:00:00+01:00") == parse_target("2026-03-01T12:00:00Z")
    assert parse_target("2026-03-01T12:00:00Z").time == datetime(2026, 3, 1, 12, tzinfo=UTC)
