"""[wal.NAME] in the strategy file, and what `status` and `wal status` make of several repositories."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from safepoint.errors import SafepointError
from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.monitoring.finding import State
from safepoint.monitoring.wal_judgement import judge_wal
from safepoint.monitoring.wal_report import RepositoryReport, ServerReport, SlotReport, WalReport
from safepoint.postgres.wal_facts import ArchiverFacts, SlotFacts, WalFacts
from safepoint.strategy import parse_strategy

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BASE = """
[database.shop]
url = "env:DATABASE_URL"
[repository.far]
url = "file:/far"
key = "none"
mode = "eventual"
[repository.main]
url = "file:/main"
key = "none"
"""
SLOT = SlotReport(
    facts=SlotFacts(
        name="safepoint_shop",
        kind="physical",
        is_active=True,
        restart_lsn=Lsn(100),
        wal_status="reserved",
        safe_wal_size=None,
        held_bytes=5,
    ),
    is_ours=True,
    limit=10,
    limit_name="slot_limit",
)
OFF = ArchiverFacts(
    mode="off",
    archived_count=0,
    last_archived=None,
    last_archived_at=None,
    failed_count=0,
    last_failed=None,
    last_failed_at=None,
    ready=None,
)
FACTS = WalFacts(
    clock=NOON,
    is_in_recovery=False,
    system_identifier="7",
    position=Lsn(105),
    timeline=TimelineId(1),
    keep_size=None,
    slots=(SLOT.facts,),
    archiver=OFF,
)
PRIMARY = ServerReport(where="db:5432", facts=FACTS, skew=timedelta(), slots=(SLOT,))
MAIN = RepositoryReport(
    name="main",
    is_required=True,
    timeline=TimelineId(1),
    durable=Lsn(100),
    mark=Mark(lsn=Lsn(100), clock=NOON - timedelta(seconds=3)),
    lag_bytes=5,
)
WELL = WalReport(
    database="shop",
    now=NOON,
    is_own_clock=False,
    slot_name="safepoint_shop",
    rpo_limit=timedelta(minutes=1),
    servers=(PRIMARY,),
    repositories=(MAIN,),
)


def test_all_repositories_take_wal_unless_some_are_named() -> None:
    """The required ones come first."""
    every = parse_strategy(BASE, Path("/x/safepoint.toml"))
    some = parse_strategy(f'{BASE}[wal.shop]\nkeep = "35d"\nrepository = "main"\n', Path("/x/safepoint.toml"))

    assert [repository.name for repository in every.wal_repositories("shop")] == ["main", "far"]
    assert [repository.name for repository in some.wal_repositories("shop")] == ["main"]


def test_canary_and_slot_limit_are_read() -> None:
    """In the units of PostgreSQL."""
    text = f'{BASE}[wal.shop]\nkeep = "35d"\ncanary = "10s"\nslot_limit = "10GB"\n'
    wal = parse_strategy(text, Path("/x/safepoint.toml")).wal_of("shop")

    assert wal is not None
    assert (wal.canary, wal.slot_limit) == (timedelta(seconds=10), 10 << 30)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('canary = "100ms"', "at least 1s"),
        ('slot_limit = "10 GB"', "a size like 512MB or 10GB"),
        ('slot_limit = "0GB"', "a size like 512MB or 10GB"),
        ('repository = "nowhere"', "the name of a [repository]"),
        ('repository = ["main", "main"]', "each repository once"),
        ('repository = "far"', "a required one"),
    ],
)
def test_mistakes_are_told(line: str, told: str) -> None:
    """With what was expected."""
    with pytest.raises(SafepointError) as caught:
        parse_strategy(f'{BASE}[wal.shop]\nkeep = "35d"\n{line}\n', Path("/x/safepoint.toml"))

    assert told in f"{caught.value.message} {caught.value.hints}"


def states(report: WalReport) -> dict[str, State]:
    return {finding.check: finding.state for finding in judge_wal(report)}


def seen_as(**facts: Any) -> SlotReport:
    """The slot, but for these facts."""
    return replace(SLOT, facts=replace(SLOT.facts, **facts))


def test_all_is_well() -> None:
    """RPO is the server's clock minus the newest mark."""
    assert set(states(WELL).values()) == {State.GOOD}
    assert WELL.rpo == timedelta(seconds=3)


def test_the_required_repository_that_is_furthest_behind_decides() -> None:
    """An eventual one does not count; one without a mark makes the RPO unknown."""
    late = replace(MAIN, name="late", mark=Mark(lsn=Lsn(1), clock=NOON - timedelta(minutes=2)))
    lost = replace(MAIN, name="lost", mark=None)

    assert states(replace(WELL, repositories=(MAIN, late)))["rpo"] is State.BAD
    assert states(replace(WELL, repositories=(MAIN, replace(late, is_required=False))))["rpo"] is State.GOOD
    assert states(replace(WELL, repositories=(MAIN, lost)))["rpo"] is State.UNKNOWN


@pytest.mark.parametrize(
    "slot",
    [
        seen_as(is_active=False),
        seen_as(held_bytes=11),
        seen_as(wal_status="lost"),
        replace(seen_as(name="another", wal_status="unreserved"), is_ours=False),
    ],
)
def test_a_slot_that_is_idle_full_or_lost_is_bad(slot: SlotReport) -> None:
    """Also another's: it fills the same disk."""
    report = replace(WELL, servers=(replace(PRIMARY, slots=(slot,)),))

    assert states(report)["slot"] is State.BAD


def test_what_may_be_lost_is_fetched_and_what_is_lost_is_begun_anew() -> None:
    """Commands stand whole between backquotes; only WAL that is gone asks for a gap to be accepted."""
    cures = {
        status: next(
            finding.cure
            for finding in judge_wal(replace(WELL, servers=(replace(PRIMARY, slots=(seen_as(wal_status=status),)),)))
            if finding.check == "slot"
        )
        for status in ("lost", "unreserved")
    }

    assert "`safepoint wal stream shop --accept-gap`" in cures["lost"]
    assert "`safepoint backup shop`" in cures["lost"]
    assert cures["unreserved"].startswith("`safepoint wal stream shop` at once")


def test_clocks_archiver_and_what_does_not_answer() -> None:
    """Bad, bad and unknown."""
    failing = replace(
        OFF,
        mode="on",
        last_archived="000000010000000000000001",
        last_archived_at=NOON - timedelta(hours=1),
        last_failed="000000010000000000000002",
        last_failed_at=NOON,
        ready=7,
    )
    server = replace(PRIMARY, skew=timedelta(minutes=-1), facts=replace(FACTS, archiver=failing))
    away = ServerReport(where="other:5432", obstacle="no answer")
    gone = RepositoryReport(name="dr", is_required=True, obstacle="no answer")
    report = replace(WELL, servers=(server, away), repositories=(MAIN, gone))

    found = states(report)
    assert (found["clock"], found["archiver"]) == (State.BAD, State.BAD)
    assert (found["server"], found["repository"], found["rpo"]) == (State.UNKNOWN, State.UNKNOWN, State.UNKNOWN)


@pytest.mark.parametrize(
    ("archived", "waiting", "state"),
    [
        (None, None, State.GOOD),
        (None, 5, State.UNKNOWN),
        (None, 61, State.BAD),
        (10, 300, State.GOOD),
        (61, 300, State.BAD),
        (300, 61, State.BAD),
        (300, 5, State.GOOD),
    ],
)
def test_an_archiver_that_does_nothing_is_bad(archived: int | None, waiting: int | None, state: State) -> None:
    """So many seconds ago: a command that is not found counts as no failure, but files wait."""
    archiver = replace(
        OFF,
        mode="on",
        last_archived=None if archived is None else "x",
        last_archived_at=None if archived is None else NOON - timedelta(seconds=archived),
        ready=0 if waiting is None else 1,
        ready_since=None if waiting is None else NOON - timedelta(seconds=waiting),
    )
    server = replace(PRIMARY, facts=replace(FACTS, archiver=archiver))

    assert states(replace(WELL, servers=(server,)))["archiver"] is state


def test_no_slot_is_bad_unless_wal_comes_another_way() -> None:
    """Then it is a notice."""
    archiver = replace(OFF, mode="on", last_archived="x", last_archived_at=NOON)
    bare = replace(PRIMARY, slots=())

    assert states(replace(WELL, servers=(bare,)))["slot"] is State.BAD
    assert (
        states(replace(WELL, servers=(replace(bare, facts=replace(FACTS, archiver=archiver)),)))["slot"] is State.NOTICE
    )
