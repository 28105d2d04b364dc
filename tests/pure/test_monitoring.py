"""The checks: good was proven, bad was proven, unknown was neither."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.proof import ProofLevel
from safepoint.model.reach import Cause, Loss
from safepoint.monitoring.checks import judge_all
from safepoint.monitoring.checks.receiver import KEPT_LIMIT
from safepoint.monitoring.finding import State
from safepoint.monitoring.situation import BackupSeen, MigrationsSeen, ServerSeen, Situation, SlotSeen, WalSeen
from safepoint.monitoring.wal_gaps import describe_loss

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GAP = Loss(
    timeline=TimelineId(1),
    start=Lsn.parse("0/3000000"),
    end=Lsn.parse("0/4000000"),
    cause=Cause.NOT_RECEIVED,
    after=None,
    before=None,
    is_harmless=False,
)
SLOT = SlotSeen(is_active=True, wal_status="reserved", kept_bytes=KEPT_LIMIT)
PRIMARY = ServerSeen(
    version="17.10", is_in_recovery=False, clock=NOW, system_identifier="7", slot_name="safepoint_shop", slot=SLOT
)


def backup(
    name: str,
    *,
    hours: float,
    proof: ProofLevel = ProofLevel.VERIFIED,
    is_damaged: bool = False,
    timeline: int = 1,
    start: str = "0/2000000",
) -> BackupSeen:
    """A backup that ended so long ago."""
    return BackupSeen(
        id=name,
        tier="daily",
        timeline=TimelineId(timeline),
        start=Lsn.parse(start),
        stopped_at=NOW - timedelta(hours=hours),
        proof=proof,
        is_damaged=is_damaged,
    )


ALL_WELL = Situation(
    database="shop",
    now=NOW,
    rpo=None,
    tier="nightly",
    server=PRIMARY,
    server_obstacle="",
    is_server_down=False,
    has_repository=True,
    repository_obstacle="",
    cluster="7",
    backups=(backup("newest", hours=1),),
    wal=WalSeen(latest=NOW - timedelta(seconds=10), losses=()),
    migrations=(MigrationsSeen(application="app", applied=3),),
)


def states(situation: Situation) -> list[tuple[str, State]]:
    """Each finding's check and state."""
    return [(finding.check, finding.state) for finding in judge_all(situation)]


def facts(situation: Situation, check: str) -> list[str]:
    """What the check says."""
    return [finding.fact for finding in judge_all(situation) if finding.check == check]


def test_all_well() -> None:
    """Everything proven is good, and only what is not good has a cure."""
    assert {state for _, state in states(ALL_WELL)} == {State.GOOD}
    assert {finding.cure for finding in judge_all(ALL_WELL)} == {""}
    assert facts(ALL_WELL, "server") == ["PostgreSQL 17.10, primary"]


def test_standby_answers() -> None:
    """A server in recovery is told from a primary."""
    standby = replace(ALL_WELL, server=replace(PRIMARY, is_in_recovery=True))
    assert facts(standby, "server") == ["PostgreSQL 17.10, standby"]
    assert ("receiver", State.UNKNOWN) in states(standby)


@pytest.mark.parametrize(
    ("found", "state", "told"),
    [
        ("8", State.BAD, "found cluster 8, the backups are of cluster 7"),
        (None, State.UNKNOWN, "the role may not see whether it is cluster 7, which the backups are of"),
    ],
)
def test_another_cluster_is_bad(found: str | None, state: State, told: str) -> None:
    """A URL that leads to another cluster than the backups' is bad; where nobody may see which, it is unknown."""
    situation = replace(ALL_WELL, server=replace(PRIMARY, system_identifier=found))
    assert ("server", state) in states(situation)
    assert facts(situation, "server") == [f"PostgreSQL 17.10, primary; {told}"]
    without_backups = replace(situation, cluster=None, backups=(), wal=None)
    assert ("server", State.GOOD) in states(without_backups)


@pytest.mark.parametrize(
    ("slot", "state", "told"),
    [
        (None, State.BAD, "no replication slot safepoint_shop: no receiver was ever started, or it was dropped"),
        (
            replace(SLOT, is_active=False, kept_bytes=2048),
            State.BAD,
            "no receiver is connected to slot safepoint_shop, 2.0 KiB of WAL kept for it",
        ),
        (
            replace(SLOT, is_active=False, wal_status="lost", kept_bytes=None),
            State.BAD,
            "slot safepoint_shop is lost: the server has removed WAL that was not received",
        ),
        (
            replace(SLOT, wal_status="unreserved"),
            State.BAD,
            "slot safepoint_shop, 1.0 GiB of WAL kept for it, which the server may remove at its next checkpoint",
        ),
        (
            replace(SLOT, kept_bytes=KEPT_LIMIT + 1),
            State.BAD,
            "a receiver is behind: slot safepoint_shop, 1.0 GiB of WAL kept for it, limit 1.0 GiB",
        ),
        (SLOT, State.GOOD, "connected to slot safepoint_shop, 1.0 GiB of WAL kept for it"),
    ],
)
def test_receiver(slot: SlotSeen | None, state: State, told: str) -> None:
    """However fresh the newest instant is, WAL that has stopped coming is bad."""
    situation = replace(ALL_WELL, server=replace(PRIMARY, slot=slot))
    assert ("receiver", state) in states(situation)
    assert facts(situation, "receiver") == [told]


def test_a_server_that_archives_needs_no_receiver() -> None:
    """Without a slot that is a notice, and WAL that is late asks for the pusher; a slot of ours is judged as ever."""
    archiving = replace(
        ALL_WELL, server=replace(PRIMARY, slot=None, archives=True), wal=WalSeen(latest=None, losses=())
    )
    assert ("receiver", State.NOTICE) in states(archiving)
    (late,) = [finding for finding in judge_all(archiving) if finding.check == "wal"]
    assert late.cure == "`safepoint wal archive shop`"
    idle = replace(PRIMARY, slot=replace(SLOT, is_active=False), archives=True)
    assert ("receiver", State.BAD) in states(replace(ALL_WELL, server=idle))


def test_receiver_that_nobody_asks_for() -> None:
    """Without backups and slot nothing is said; a slot without a receiver fills the disk, backups or not."""
    without = replace(ALL_WELL, cluster=None, backups=(), wal=None)
    assert facts(replace(without, server=replace(PRIMARY, slot=None)), "receiver") == []
    assert ("receiver", State.BAD) in states(
        replace(without, server=replace(PRIMARY, slot=replace(SLOT, is_active=False)))
    )


def test_receiver_that_may_not_be_seen() -> None:
    """A slot that could not be looked at is unknown, not missing."""
    situation = replace(ALL_WELL, server=replace(PRIMARY, slot=None, slot_obstacle="no right"))
    assert ("receiver", State.UNKNOWN) in states(situation)
    assert facts(situation, "receiver") == ["no right"]


@pytest.mark.parametrize(
    ("slot", "cure"),
    [
        (None, "`safepoint wal stream shop`, and keep it running"),
        (
            replace(SLOT, wal_status="lost"),
            "`safepoint wal stream shop --accept-gap`, then `safepoint backup shop --tier nightly`",
        ),
    ],
)
def test_cure_of_the_receiver(slot: SlotSeen | None, cure: str) -> None:
    """What the server has removed needs a new backup; everything else needs a receiver."""
    findings = judge_all(replace(ALL_WELL, server=replace(PRIMARY, slot=slot)))
    assert [finding.cure for finding in findings if finding.check == "receiver"] == [cure]


def test_cures_name_a_tier_of_the_strategy() -> None:
    """The strategy's own tier; without any, how to state one."""
    without = replace(ALL_WELL, backups=(), wal=None)
    assert "`safepoint backup shop --tier nightly`" in [finding.cure for finding in judge_all(without)]
    cures = [finding.cure for finding in judge_all(replace(without, tier=None))]
    assert any(cure.startswith("add `[tier.daily]`") for cure in cures)


@pytest.mark.parametrize(("is_down", "state"), [(True, State.BAD), (False, State.UNKNOWN)])
def test_server_that_is_not_seen(is_down: bool, state: State) -> None:
    """A server that did not answer is bad; one that could not even be asked is unknown."""
    situation = replace(ALL_WELL, server=None, server_obstacle="refused", is_server_down=is_down)
    assert ("server", state) in states(situation)
    assert facts(situation, "server") == ["refused"]


def test_no_repository_is_unknown() -> None:
    """Without a repository, or with one that does not open, backups are unknown and the reason is told."""
    without = replace(ALL_WELL, has_repository=False, backups=(), wal=None)
    assert [item for item in states(without) if item[0] in {"backup", "proof", "wal"}] == [("backup", State.UNKNOWN)]
    closed = replace(ALL_WELL, repository_obstacle="wrong key", backups=(), wal=None)
    assert facts(closed, "backup") == ["wrong key"]
    assert ("backup", State.UNKNOWN) in states(closed)


def test_no_backup_is_bad() -> None:
    """A repository without a backup of the database is bad."""
    situation = replace(ALL_WELL, backups=(), wal=None)
    assert ("backup", State.BAD) in states(situation)
    assert facts(situation, "backup") == ["no backup"]


@pytest.mark.parametrize(("hours", "state"), [(26, State.GOOD), (26.01, State.BAD)])
def test_age_of_the_newest_backup(hours: float, state: State) -> None:
    """A backup may be a day and two hours old; the newest counts."""
    situation = replace(ALL_WELL, backups=(backup("older", hours=90), backup("newest", hours=hours)))
    assert ("backup", state) in states(situation)
    assert facts(situation, "backup")[0].startswith("newest (daily) ended 1d 2h ago, 2 in all")


def test_stored_is_unknown() -> None:
    """A newest backup that nothing has read back is unknown, whatever was proven of older ones."""
    newest = backup("newest", hours=1, proof=ProofLevel.STORED)
    situation = replace(ALL_WELL, backups=(backup("older", hours=20, proof=ProofLevel.QUERIED), newest))
    assert ("proof", State.UNKNOWN) in states(situation)


def test_damaged_backup_is_bad_and_counts_for_nothing() -> None:
    """A damaged backup is named; age and proof are judged by the newest of the others."""
    damaged = backup("newest", hours=1, is_damaged=True)
    with_other = replace(ALL_WELL, backups=(backup("older", hours=2), damaged))
    assert facts(with_other, "proof") == ["newest is damaged", "older is verified"]
    assert facts(with_other, "backup")[0].startswith("older")
    alone = replace(ALL_WELL, backups=(damaged,))
    assert facts(alone, "backup") == ["no backup but damaged ones"]
    assert ("backup", State.BAD) in states(alone)


@pytest.mark.parametrize("wal", [None, WalSeen(latest=None, losses=())])
def test_wal_without_a_mark_is_unknown(wal: WalSeen | None) -> None:
    """Where no mark proves an instant, what would be lost is unknown."""
    assert ("wal", State.UNKNOWN) in states(replace(ALL_WELL, wal=wal))


@pytest.mark.parametrize(
    ("minutes", "rpo", "state"),
    [
        (60, None, State.GOOD),
        (61, None, State.BAD),
        (6, timedelta(minutes=5), State.BAD),
        (5, timedelta(minutes=5), State.GOOD),
        (-1, timedelta(minutes=5), State.GOOD),
    ],
)
def test_exposure_against_the_rpo(minutes: int, rpo: timedelta | None, state: State) -> None:
    """More than the tightest RPO at stake is bad; without a stated one it is an hour."""
    wal = WalSeen(latest=NOW - timedelta(minutes=minutes), losses=())
    assert ("wal", state) in states(replace(ALL_WELL, rpo=rpo, wal=wal))


@pytest.mark.parametrize("latest", [NOW, None])
def test_gap_is_bad(latest: datetime | None) -> None:
    """A hole in the WAL is bad, however fresh the newest instant is, and also where none is proven."""
    situation = replace(ALL_WELL, wal=WalSeen(latest=latest, losses=(GAP,)))
    assert ("wal", State.BAD) in states(situation)
    assert facts(situation, "wal")[0] == describe_loss(GAP)


@pytest.mark.parametrize("worth", [{"is_harmless": True}, {"is_abandoned": True}])
def test_a_gap_that_costs_production_nothing_is_not_told(worth: dict[str, bool]) -> None:
    """One that no backup needs, and one on a timeline on which production did not go on."""
    situation = replace(ALL_WELL, wal=WalSeen(latest=NOW, losses=(replace(GAP, **worth),)))  # type: ignore[arg-type] - booleans
    assert states(situation) == states(ALL_WELL)


@pytest.mark.parametrize(
    ("newest", "state"),
    [
        (backup("newest", hours=1, start="0/4000000"), State.NOTICE),
        (backup("newest", hours=1, start="0/3FFFFFF"), State.BAD),
        (backup("newest", hours=1, timeline=2, start="0/1000000"), State.NOTICE),
        (backup("newest", hours=1, start="0/4000000", is_damaged=True), State.BAD),
    ],
)
def test_gap_before_the_newest_sound_backup_is_history(newest: BackupSeen, state: State) -> None:
    """A gap that the newest sound backup starts behind is told and bad no longer; a damaged backup ends no gap."""
    situation = replace(ALL_WELL, backups=(backup("older", hours=9), newest), wal=WalSeen(latest=NOW, losses=(GAP,)))
    [told, _] = [finding for finding in judge_all(situation) if finding.check == "wal"]
    assert told.state is state
    assert describe_loss(GAP) in told.fact


def test_migrations() -> None:
    """Pending is no fault; failed, edited and unknown are told, each application for itself."""
    situation = replace(
        ALL_WELL,
        migrations=(
            MigrationsSeen(application="a", applied=1, pending=("next",)),
            MigrationsSeen(application="b", failed=("x",), edited=("y",)),
            MigrationsSeen(application="c", obstacle="no folder"),
        ),
    )
    found = [(finding.state, finding.fact) for finding in judge_all(situation) if finding.check == "migrations"]
    assert found == [
        (State.GOOD, "a: 1 applied, 1 pending"),
        (State.BAD, "b: x failed, y was edited"),
        (State.UNKNOWN, "c: no folder"),
    ]


def test_a_manifest_that_does_not_open_is_bad_whoevers_it_is() -> None:
    """It may have been the backup that everything hangs on."""
    findings = judge_all(replace(ALL_WELL, unreadable=("backups/7/x",)))

    assert [finding.fact for finding in findings if finding.state is State.BAD] == [
        "manifest backups/7/x does not open"
    ]
