"""How far the proofs of a restored copy carry."""

from __future__ import annotations

import json

import pytest

from safepoint.model.proof import ProofLevel
from safepoint.recovery.proofs import Outcome, Proof, ProofKind, proof_from_json
from safepoint.recovery.verdict import level_of


def proof(kind: ProofKind, outcome: Outcome = Outcome.PASS) -> Proof:
    return Proof(kind=kind, name="query of nobody", outcome=outcome, detail="")


FILES, CONNECTION, QUESTION = proof(ProofKind.FILES), proof(ProofKind.CONNECTION), proof(ProofKind.QUESTION)


@pytest.mark.parametrize(
    ("proofs", "level"),
    [
        ([], ProofLevel.STORED),
        ([FILES], ProofLevel.VERIFIED),
        ([FILES, CONNECTION], ProofLevel.RESTORED),
        ([CONNECTION, proof(ProofKind.AMCHECK, Outcome.UNKNOWN)], ProofLevel.RESTORED),
        ([FILES, CONNECTION, QUESTION], ProofLevel.QUERIED),
        ([CONNECTION, QUESTION, proof(ProofKind.QUESTION, Outcome.UNKNOWN)], ProofLevel.RESTORED),
        ([CONNECTION, QUESTION, proof(ProofKind.FILES, Outcome.FAIL)], ProofLevel.STORED),
    ],
)
def test_the_level_follows_from_kinds_and_outcomes(proofs: list[Proof], level: ProofLevel) -> None:
    """Not from names; unknown carries nothing, and one failure takes everything."""
    assert level_of(proofs) is level


def test_a_proof_survives_a_journal() -> None:
    """It is JSON in a step's outcome, and equal when read back."""
    assert proof_from_json(json.loads(json.dumps(QUESTION.to_json()))) == QUESTION
