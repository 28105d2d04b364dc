"""The checks: good was proven, bad was proven, unknown was neither."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from safepoint.model.coverage import Gap
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.proof import ProofLevel
from safepoint.monitoring.checks import judge_all
from safepoint.monitoring.finding import State
from safepoint.monitoring.situation import BackupSeen, MigrationsSeen, ServerSeen, Situation, WalSeen

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GAP = Gap(timeline=TimelineId(1), start=Lsn.parse("0/3000000"), end=Lsn.parse("0/4000000"))


def backup(name: str, *, hours: float, proof: ProofLevel = ProofLevel.VERIFIED, is_damaged: bool = False) -> BackupSeen:
    """A backup that ended so long ago."""
    stopped_at = NOW - timedelta(hours=hours)
    return BackupSeen(id=name, tier="daily", stopped_at=stopped_at, proof=proof, is_damaged=is_damaged)


ALL_WELL = Situation(
    database="shop",
    now=NOW,
    rpo=None,
    server=ServerSeen(version="17.10", is_in_recovery=False, clock=NOW),
    server_obstacle="",
    is_server_down=False,
    has_repository=True,
    repository_obstacle="",
    backups=(backup("newest", hours=1),),
    wal=WalSeen(latest=NOW - timedelta(seconds=10), gaps=()),
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
    standby = ServerSeen(version="17.10", is_in_recovery=True, clock=NOW)
    assert facts(replace(ALL_WELL, server=standby), "server") == ["PostgreSQL 17.10, standby"]


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


@pytest.mark.parametrize("wal", [None, WalSeen(latest=None, gaps=())])
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
    wal = WalSeen(latest=NOW - timedelta(minutes=minutes), gaps=())
    assert ("wal", state) in states(replace(ALL_WELL, rpo=rpo, wal=wal))


@pytest.mark.parametrize("latest", [NOW, None])
def test_gap_is_bad(latest: datetime | None) -> None:
    """A hole in the WAL is bad, however fresh the newest instant is, and also where none is proven."""
    situation = replace(ALL_WELL, wal=WalSeen(latest=latest, gaps=(GAP,)))
    assert ("wal", State.BAD) in states(situation)
    assert facts(situation, "wal")[0] == "WAL gap on timeline 1: 0/3000000 up to 0/4000000 is not held"


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
