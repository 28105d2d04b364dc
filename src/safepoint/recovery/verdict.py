"""Whether a scenario's contract was kept. Pure: from measured values alone."""

from __future__ import annotations

from safepoint.model.scenario import ScenarioMeasurement, Verdict


def verdict_of(measurement: ScenarioMeasurement) -> Verdict:
    """kept when both times were measured and neither exceeds its target; unproven when one was not measured."""
    contract = measurement.contract
    if measurement.rto is None or measurement.rpo is None or measurement.lost_commits is None:
        return Verdict.UNPROVEN
    is_kept = measurement.rto <= contract.rto and measurement.rpo <= contract.rpo
    return Verdict.KEPT if is_kept else Verdict.BROKEN
