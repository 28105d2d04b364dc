"""The gate's verdict, and the pauses between attempts: pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepoint.migration.deploy.attempts import pause_after
from safepoint.model.coverage import Gap
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.proof import ProofLevel
from safepoint.model.safety import SafetyDemand, SafetyFacts, SafetyPart, shortfalls

POINT = Lsn.parse("0/5000000")
DEMAND = SafetyDemand(proof=ProofLevel.VERIFIED, max_age=timedelta(days=1))
GAP = Gap(timeline=TimelineId(1), start=Lsn.parse("0/3000000"), end=Lsn.parse("0/4000000"))
GOOD = SafetyFacts(backup_id="b1", backup_age=timedelta(hours=23), proof=ProofLevel.RESTORED, durable_lsn=POINT)


def test_everything_held_opens_the_gate() -> None:
    """Proof beyond what is asked, an age within the limit, WAL exactly up to the point."""
    assert shortfalls(GOOD, DEMAND, POINT) == ()


@pytest.mark.parametrize(
    ("change", "part", "found"),
    [
        ({"backup_id": None}, SafetyPart.BACKUP, "no backup"),
        ({"backup_id": None, "damaged": 2}, SafetyPart.BACKUP, "no backup but 2 damaged"),
        (
            {"durable_lsn": GAP.start, "gap": GAP, "proof": ProofLevel.STORED},
            SafetyPart.BACKUP,
            "backup b1 and after it a WAL gap, 0/3000000 up to 0/4000000 on timeline 1",
        ),
        ({"proof": ProofLevel.STORED}, SafetyPart.PROOF, "backup b1 stored"),
        ({"proof": None}, SafetyPart.PROOF, "backup b1 of unknown proof"),
        ({"backup_age": timedelta(days=2)}, SafetyPart.AGE, "backup b1 ended 2d 0h ago"),
        ({"backup_age": None}, SafetyPart.AGE, "backup b1 of unknown age"),
        ({"durable_lsn": Lsn.parse("0/4FFFFFF")}, SafetyPart.WAL, "WAL held up to 0/4FFFFFF"),
        ({"durable_lsn": None}, SafetyPart.WAL, "no WAL held since the backup"),
    ],
)
def test_each_sentence_can_close_it_alone(change: dict[str, object], part: SafetyPart, found: str) -> None:
    """What is unknown counts as missing."""
    (shortfall,) = shortfalls(replace(GOOD, **change), DEMAND, POINT)
    assert (shortfall.part, shortfall.found) == (part, found)


@given(st.integers(1, 40), st.floats(0.001, 60), st.floats(0, 0.999))
def test_a_pause_lets_queued_traffic_drain_and_does_not_grow_for_ever(
    attempt: int, timeout: float, chance: float
) -> None:
    """At least as long as traffic was queued behind the attempt, at most sixteen times."""
    assert timeout <= pause_after(attempt, timeout, chance) <= 16 * timeout
    assert pause_after(attempt, timeout, chance) <= pause_after(attempt + 1, timeout, chance)
