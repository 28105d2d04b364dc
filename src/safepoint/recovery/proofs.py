"""What is proven of a restored copy, as values, and the proof that comes before any server touched its files.

A proof passes, fails, or is unknown because it could not be had here; unknown is never shown as passed. Pages are not
checked again: those that were written are the very ones that were checked when the backup was taken, by their content
ids, and the backup names those that were damaged then. `online_proofs` asks the running copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from safepoint import errors
from safepoint.model.json_value import Json
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.programs import run_program
from safepoint.recovery.directory import MARKER

NO_AMCHECK = "the extension amcheck is not installed there"
"""The detail of an amcheck proof that a `CREATE EXTENSION amcheck` in production would have made known."""

_DETAIL_CHARACTERS = 600


class Outcome(Enum):
    """What came of a proof."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNKNOWN = "unknown"


class ProofKind(Enum):
    """What a proof looks at."""

    FILES = "files"
    CONNECTION = "connection"
    AMCHECK = "amcheck"
    VISIBILITY = "visibility"
    STREAMING = "streaming"
    QUESTION = "question"
    WRITES = "writes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One proof: what it looks at, its name among others of its kind, what came of it, and in a line why."""

    kind: ProofKind
    name: str
    outcome: Outcome
    detail: str

    def to_json(self) -> dict[str, Json]:
        """As it stands in a step's outcome; `proof_from_json` gives back an equal value."""
        return {
            "kind": self.kind.value,
            "name": self.name,
            "outcome": self.outcome.value,
            "detail": self.detail,
        }


def proof_from_json(value: Mapping[str, str]) -> Proof:
    """The proof that `to_json` wrote."""
    return Proof(
        kind=ProofKind(value["kind"]),
        name=value["name"],
        outcome=Outcome(value["outcome"]),
        detail=value["detail"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A query that a restored copy must answer."""

    database: str
    query: str


def prove_files(cluster: Cluster, *, with_wal: bool = False) -> Proof:
    """`pg_verifybackup`: every file has the size and checksum that the backup manifest made for it says.

    With WAL: so has all that leads to the backup's end, in pg_wal.
    """
    kind, name = ProofKind.FILES, "pg_verifybackup"
    try:
        program = cluster.binaries.program(name)
    except errors.SafepointError as error:
        return Proof(kind=kind, name=name, outcome=Outcome.UNKNOWN, detail=error.message)
    # A copy's WAL comes later: -n. Our own marker is no file of the backup: -i.
    options = () if with_wal else ("-n",)
    answer = run_program(cluster.user, [program, *options, "-i", MARKER, cluster.data], check=False)
    outcome = Outcome.PASS if answer.returncode == 0 else Outcome.FAIL
    return Proof(kind=kind, name=name, outcome=outcome, detail=short(answer.stderr or answer.stdout))


def require_passed(proofs: Iterable[Proof]) -> None:
    """RC004 when a proof failed; one that is unknown does not stop anything."""
    failed = [proof for proof in proofs if proof.outcome is Outcome.FAIL]
    if failed:
        raise errors.RC004.error(
            "found "
            + "; ".join(f"{proof.name} failed: {proof.detail}" for proof in failed)
            + "; expected every proof to pass",
            changed="the restored copy is marked as unfinished; production and repository are untouched",
            hints=[
                errors.ask("was the backup damaged in the repository?"),
                errors.run("check it with `safepoint verify`, and restore from another backup"),
            ],
        )


def short(text: str) -> str:
    """On one line, and not too long for a proof's detail."""
    return " | ".join(text.split("\n")).strip(" |")[:_DETAIL_CHARACTERS]
