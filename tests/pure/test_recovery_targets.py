"""Recovery targets: what is understood, what is chosen, what is refused."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from test_coverage import NOON, ONE, SEGMENT, backup

from safepoint import errors
from safepoint.model.coverage import Coverage, Gap, Interval, Mark, WalPath
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.recovery.choice import TimelineRule, choose, passed_over, with_epoch
from safepoint.recovery.targets import TargetKind, parse_target, pinned_from_json, pinned_to_json

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
        ("2026-03-01 12:00Z", TargetKind.TIME, "2026-03-01 12:00:00.000 UTC"),
    ],
)
def test_a_target_says_what_it_was_understood_as(text: str, kind: TargetKind, shown: str) -> None:
    """The zone is always shown."""
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


@pytest.mark.parametrize(
    ("local", "second"),
    [
        (timezone(timedelta(hours=5, minutes=30)), "this machine's time: `--to '2026-03-01T12:00:00+05:30'`"),
        (UTC, "with its offset: `--to '2026-03-01T12:00:00+01:00'`"),
    ],
)
def test_a_time_without_a_zone_is_refused_with_both_readings(local: tzinfo, second: str) -> None:
    """Nobody's zone is guessed; each hint can be pasted, and means one instant."""
    with pytest.raises(errors.Misconfigured, match="no zone in '2026-03-01 12:00'") as caught:
        parse_target("2026-03-01 12:00", local=local)

    assert caught.value.spec is errors.RC005
    first, other = (hint.text for hint in caught.value.hints)
    assert "`--to '2026-03-01T12:00:00Z'`" in first
    assert second in other
    assert parse_target(first.split("'")[1]).time == NOON


def test_this_machines_zone_is_what_the_hint_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the environment has it, daylight saving time included."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        with pytest.raises(errors.Misconfigured) as caught:
            parse_target("2026-07-01 12:00")
    finally:
        monkeypatch.undo()
        time.tzset()

    assert any("--to '2026-07-01T12:00:00+02:00'" in hint.text for hint in caught.value.hints)


def test_a_damaged_backup_is_passed_over_for_an_older_one_that_leads_to_the_same() -> None:
    """For every kind of target; what was passed over is known, and only that."""
    for text in ("latest", str(Lsn(END)), (NOON + timedelta(minutes=15)).isoformat()):
        pinned = choose(parse_target(text), COVERAGE, BACKUPS, damaged={"new"})

        assert pinned.backup_id == "old"
        assert passed_over(pinned, COVERAGE, {"new"}) == ("new",)
    early = choose(parse_target((NOON + timedelta(minutes=11)).isoformat()), COVERAGE, BACKUPS, damaged={"new"})
    assert passed_over(early, COVERAGE, {"new"}) == ()
    newest = choose(parse_target("latest"), COVERAGE, BACKUPS, damaged={"old"})
    assert (newest.backup_id, passed_over(newest, COVERAGE, {"old"})) == ("new", ())


def test_only_damaged_backups_are_refused_with_a_way_to_insist() -> None:
    """RC001 names them and both ways on; the one that is asked for by name is chosen."""
    with pytest.raises(errors.Refused, match=r"last verification found damaged \(new, old\)") as caught:
        choose(parse_target("latest"), COVERAGE, BACKUPS, damaged={"old", "new"})

    assert caught.value.spec is errors.RC001
    hints = " ".join(hint.text for hint in caught.value.hints)
    assert "`--backup new`" in hints
    assert "`safepoint verify --backup new`" in hints
    assert choose(parse_target("latest"), COVERAGE, BACKUPS[:1]).backup_id == "old"


@pytest.mark.parametrize("change", [{"timeline": TimelineId(2)}, {"end": Lsn(END + 8)}])
def test_latest_from_a_sound_backup_is_refused_when_a_damaged_one_reaches_further(change: dict[str, Any]) -> None:
    """On a newer timeline, or behind the older one's end: what follows would be lost silently."""
    old, new = COVERAGE.intervals
    coverage = Coverage(intervals=(old, replace(new, **change)), gaps=())

    with pytest.raises(errors.Refused, match="found damaged") as caught:
        choose(parse_target("latest"), coverage, BACKUPS, damaged={"new"})

    assert any(f"what sound backups reach: `--to {Lsn(END)}`" in hint.text for hint in caught.value.hints)


def test_where_a_time_target_ends_is_said_without_a_position_that_is_passed() -> None:
    """Recovery stops at a commit, which is somewhere before the end of what is put in place."""
    at_time = choose(parse_target((NOON + timedelta(minutes=15)).isoformat()), COVERAGE, BACKUPS)
    at_position = choose(parse_target(str(Lsn(4 * SEGMENT + 8))), COVERAGE, BACKUPS)

    assert at_time.ending == f"the first commit after the target, before {Lsn(4 * SEGMENT)}"
    assert at_position.ending == str(Lsn(4 * SEGMENT + 8))


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [("immediate", "immediate"), ("xid:74863", "transaction 74863"), ("name:before it", "restore point 'before it'")],
)
def test_targets_of_postgresql_are_understood(text: str, shown: str) -> None:
    """And survive a plan."""
    assert str(parse_target(text)) == shown
    pinned = replace(choose(parse_target("latest"), COVERAGE, BACKUPS), target=parse_target(text))
    assert pinned_from_json(json.loads(json.dumps(pinned_to_json(pinned)))) == pinned


@pytest.mark.parametrize(
    "text", ["xid:", "xid:2", "xid:-7", "xid:1e3", "xid:²", "name:", f"name:{'ä' * 32}", "name:a\0b"]
)
def test_transactions_and_names_that_cannot_be_are_refused(text: str) -> None:
    """RC005: ids below 3 are no transactions, names are 1 to 63 bytes."""
    with pytest.raises(errors.Misconfigured) as caught:
        parse_target(text)

    assert caught.value.spec is errors.RC005


def test_exclusive_means_something_for_a_time_and_a_transaction_only() -> None:
    """Every other target is a position between two records."""
    assert str(parse_target("xid:9", is_exclusive=True)) == "just before transaction 9"
    assert choose(parse_target("2026-03-01T12:15Z", is_exclusive=True), COVERAGE, BACKUPS).ending.startswith(
        "the first commit at or after the target"
    )
    for text in ("latest", "immediate", "0/3000028", "name:x"):
        with pytest.raises(errors.Misconfigured, match="exclusive"):
            parse_target(text, is_exclusive=True)


def test_immediate_is_the_end_of_the_newest_backup() -> None:
    """Its WAL ends with the segment in which it ended."""
    pinned = choose(parse_target("immediate"), COVERAGE, BACKUPS)

    assert (pinned.backup_id, pinned.end, pinned.position) == ("new", Lsn(2 * SEGMENT + 340), pinned.end)
    assert pinned.path[-1].end == Lsn(3 * SEGMENT)
    assert choose(parse_target("immediate"), COVERAGE, BACKUPS, damaged={"new"}).backup_id == "old"


@pytest.mark.parametrize(
    ("next_xids", "chosen"), [((100, 200), "new"), ((100, 301), "old"), ((0, 0), "old"), ((0, 200), "new")]
)
def test_a_transaction_is_sought_from_the_newest_backup_that_ended_before_it_began(
    next_xids: tuple[int, int], chosen: str
) -> None:
    """Where no backup says what was next, from the oldest: it most likely precedes it."""
    backups = [replace(backup, next_xid=next_xid) for backup, next_xid in zip(BACKUPS, next_xids, strict=True)]

    pinned = choose(parse_target("xid:300"), COVERAGE, backups)

    assert (pinned.backup_id, pinned.must_stop) == (chosen, True)


def test_a_transaction_that_every_backup_may_hold_is_refused() -> None:
    """RC001: whether it is in the backup already, nobody knows."""
    backups = [replace(backup, next_xid=500) for backup in BACKUPS]

    with pytest.raises(errors.Refused, match="transaction 300, expected one that had not begun") as caught:
        choose(parse_target("xid:300"), COVERAGE, backups)

    assert caught.value.spec is errors.RC001


@pytest.mark.parametrize(
    ("newest", "given", "understood"),
    [(900, 300, 300), ((1 << 32) + 50, 60, (1 << 32) + 60), ((1 << 32) + 50, (1 << 32) - 9, (1 << 32) - 9)],
)
def test_a_transaction_id_without_its_epoch_is_the_newest_that_looks_alike(
    newest: int, given: int, understood: int
) -> None:
    """`xmin` has 32 bits only."""
    assert with_epoch(parse_target(f"xid:{given}"), [replace(BACKUPS[0], next_xid=newest)]).xid == understood


@pytest.mark.parametrize(
    ("timeline", "expected"),
    [(None, 2), (TimelineRule.LATEST, 2), (TimelineRule.CURRENT, 1), (TimelineId(1), 1), (TimelineId(2), 2)],
)
def test_the_timeline_is_the_newest_unless_told_otherwise(
    timeline: TimelineId | TimelineRule | None, expected: int
) -> None:
    """`current` is the backup's own."""
    old, new = COVERAGE.intervals
    coverage = Coverage(intervals=(old, new, replace(new, timeline=TimelineId(2))), gaps=())

    assert choose(parse_target("latest"), coverage, BACKUPS, timeline=timeline).timeline == TimelineId(expected)
