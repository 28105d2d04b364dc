"""Verdicts of scenarios: kept and broken are measured, everything else is unproven."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from safepoint.model.scenario import ScenarioContract, ScenarioMeasurement, Verdict
from safepoint.recovery.verdict import verdict_of

CONTRACT = ScenarioContract(name="lost", title="lost", rto=timedelta(minutes=15), rpo=timedelta(hours=1))
MEASURED = ScenarioMeasurement(
    contract=CONTRACT,
    failed_at=datetime(2026, 3, 1, tzinfo=UTC),
    recovered_at=datetime(2026, 3, 1, 0, 15, tzinfo=UTC),
    rto=timedelta(minutes=15),
    rpo=timedelta(hours=1),
    lost_commits=3,
    acknowledged_commits=10,
    recovered_by="restore",
)


def test_exactly_on_target_is_kept() -> None:
    """Both times at their targets keep the contract, lost commits notwithstanding: the RPO is what was promised."""
    assert verdict_of(MEASURED) is Verdict.KEPT


@pytest.mark.parametrize("changed", [{"rto": timedelta(minutes=15, seconds=1)}, {"rpo": timedelta(hours=1, seconds=1)}])
def test_one_second_over_is_broken(changed: dict[str, timedelta]) -> None:
    """Either time beyond its target breaks it."""
    assert verdict_of(replace(MEASURED, **changed)) is Verdict.BROKEN  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("lacks", ["rto", "rpo", "lost_commits"])
def test_what_was_not_measured_is_unproven(lacks: str) -> None:
    """With one value missing nothing is claimed."""
    assert verdict_of(replace(MEASURED, **{lacks: None})) is Verdict.UNPROVEN  # pyright: ignore[reportArgumentType]
