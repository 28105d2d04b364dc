"""What a repository holds, told to people and to programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from safepoint.model.coverage import Coverage, Gap, Interval
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.proof import ProofLevel
from safepoint.model.safety import SafetyFacts
from safepoint.strategy import BackupKind, Strategy, TierStrategy
from safepoint.workflows.held import coverage_to_json, describe, first_tier
from safepoint.workflows.migrate import describe_safety

ENDED = datetime(2026, 3, 1, 2, tzinfo=UTC)
GAP = Gap(timeline=TimelineId(2), start=Lsn.parse("0/5000000"), end=Lsn.parse("0/6000000"))


def coverage(latest: datetime | None) -> Coverage:
    """One interval, provable up to `latest`, and one gap."""
    interval = Interval(
        backup_id="b1",
        timeline=TimelineId(2),
        start=Lsn.parse("0/3000000"),
        end=GAP.start,
        earliest=ENDED,
        latest=latest,
    )
    return Coverage(intervals=(interval,), gaps=(GAP,))


@pytest.mark.parametrize(
    ("latest", "told"),
    [
        (ENDED + timedelta(minutes=9), "2026-03-01 02:00:00.000 UTC up to 2026-03-01 02:09:00.000 UTC"),
        (None, "2026-03-01 02:00:00.000 UTC; no instant after the backup is proven"),
    ],
)
def test_people_read_only_proven_instants(latest: datetime | None, told: str) -> None:
    """An instant that no mark proves is not shown as a bound."""
    assert describe(coverage(latest)) == [
        f"b1: timeline 2, 0/3000000 up to 0/5000000, {told}",
        "gap: timeline 2, 0/5000000 up to 0/6000000",
    ]


@pytest.mark.parametrize(("latest", "told"), [(ENDED, "2026-03-01T02:00:00+00:00"), (None, None)])
def test_programs_read_values(latest: datetime | None, told: str | None) -> None:
    """Bounds are values of their own; null is unproven."""
    assert coverage_to_json(coverage(latest)) == {
        "restorable": [
            {
                "backup": "b1",
                "timeline": 2,
                "start_lsn": "0/3000000",
                "end_lsn": "0/5000000",
                "earliest": "2026-03-01T02:00:00+00:00",
                "latest": told,
            }
        ],
        "gaps": [{"timeline": 2, "start_lsn": "0/5000000", "end_lsn": "0/6000000"}],
    }


def test_first_tier_is_a_physical_one() -> None:
    """Only a tier that this version can take is named in a command; without one none is."""
    logical = TierStrategy(name="dump", keep=timedelta(days=1), kind=BackupKind.LOGICAL, repositories=("main",))
    weekly = TierStrategy(name="weekly", keep=timedelta(days=1), repositories=("main",))
    assert first_tier(Strategy(path=Path("safepoint.toml"), databases=(), tiers=(logical, weekly))) == "weekly"
    assert first_tier(Strategy(path=Path("safepoint.toml"), databases=(), tiers=(logical,))) is None


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (SafetyFacts(backup_id=None, backup_age=None, proof=None, durable_lsn=None), "none"),
        (SafetyFacts(backup_id=None, backup_age=None, proof=None, durable_lsn=None, damaged=3), "none but 3 damaged"),
        (
            SafetyFacts(backup_id="b1", backup_age=None, proof=None, durable_lsn=None),
            "b1, of unknown proof, of unknown age",
        ),
        (
            SafetyFacts(
                backup_id="b1",
                backup_age=timedelta(hours=2),
                proof=ProofLevel.VERIFIED,
                durable_lsn=GAP.start,
                gap=GAP,
            ),
            "b1, verified, ended 2h 00m ago, with a WAL gap after it from 0/5000000 up to 0/6000000",
        ),
    ],
)
def test_what_was_found_for_a_deployment(facts: SafetyFacts, told: str) -> None:
    """What is there is told with its proof and age; what is unknown is called so."""
    assert describe_safety(facts) == told
