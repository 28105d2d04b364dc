"""What measured values amount to: whether a scenario's contract was kept, how far a copy was proven. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from safepoint.model.proof import ProofLevel
from safepoint.model.scenario import ScenarioMeasurement, Verdict
from safepoint.recovery.proofs import Outcome, Proof, ProofKind


def verdict_of(measurement: ScenarioMeasurement) -> Verdict:
    """kept when both times were measured and neither exceeds its target; unproven when one was not measured."""
    contract = measurement.contract
    if measurement.rto is None or measurement.rpo is None or measurement.lost_commits is None:
        return Verdict.UNPROVEN
    is_kept = measurement.rto <= contract.rto and measurement.rpo <= contract.rpo
    return Verdict.KEPT if is_kept else Verdict.BROKEN


def level_of(proofs: Sequence[Proof]) -> ProofLevel:
    """How far the proofs of a restored copy carry: what failed carries nothing, what is unknown not itself.

    queried when every question was answered and there was one; restored when a database let us in; verified when only
    the files were proven.
    """
    if any(proof.outcome is Outcome.FAIL for proof in proofs):
        return ProofLevel.STORED
    passed = {proof.kind for proof in proofs if proof.outcome is Outcome.PASS}
    unknown = {proof.kind for proof in proofs if proof.outcome is Outcome.UNKNOWN}
    if ProofKind.QUESTION in passed - unknown:
        return ProofLevel.QUERIED
    if ProofKind.CONNECTION in passed:
        return ProofLevel.RESTORED
    return ProofLevel.VERIFIED if ProofKind.FILES in passed else ProofLevel.STORED
