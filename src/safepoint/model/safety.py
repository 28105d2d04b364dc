"""What must be true before a database is changed, and the port through which migrations learn whether it is.

A migration never asks a repository itself: whoever wires a deployment implements `Safety`. The verdict is pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Protocol

from safepoint.model.coverage import Gap
from safepoint.model.lsn import Lsn
from safepoint.model.measures import format_duration
from safepoint.model.proof import ProofLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyDemand:
    """A backup proven at least so far, ended at most so long ago, and WAL without a gap within `deadline`."""

    proof: ProofLevel = ProofLevel.STORED
    max_age: timedelta = timedelta(days=1)
    deadline: timedelta = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyFacts:
    """What the repository holds of this cluster: its best backup, and how far one can recover from it.

    `durable_lsn`: every byte of WAL from that backup's start up to here is in every required repository. None where
    there is nothing, or it could not be told. `gap`: WAL that lacks between that backup and WAL held further on, and
    that will not come. `damaged`: how many backups were passed over because they are.
    """

    backup_id: str | None
    backup_age: timedelta | None
    proof: ProofLevel | None
    durable_lsn: Lsn | None
    gap: Gap | None = None
    damaged: int = 0


class Safety(Protocol):
    """Who knows what could be recovered."""

    def facts(self, restore_point: Lsn) -> SafetyFacts:
        """What is held now; called again and again until WAL reaches `restore_point`. Changes nothing."""
        ...


class SafetyPart(Enum):
    """The sentences that must hold."""

    BACKUP = "backup"
    PROOF = "proof"
    AGE = "age"
    WAL = "wal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """One sentence that does not hold, with both values."""

    part: SafetyPart
    found: str
    expected: str


def shortfalls(facts: SafetyFacts, demand: SafetyDemand, restore_point: Lsn) -> tuple[Shortfall, ...]:
    """Everything that is missing; nothing when the database could be brought back to `restore_point`."""
    if facts.backup_id is None:
        found = f"no backup but {facts.damaged} damaged" if facts.damaged else "no backup"
        return (Shortfall(part=SafetyPart.BACKUP, found=found, expected="one of this cluster"),)
    if facts.gap is not None and not _is_held(facts, restore_point):
        return (_cut_off(facts.backup_id, facts.gap),)
    checks = (_proof(facts, demand), _age(facts, demand), _wal(facts, restore_point))
    return tuple(shortfall for shortfall in checks if shortfall is not None)


def _proof(facts: SafetyFacts, demand: SafetyDemand) -> Shortfall | None:
    if facts.proof is not None and facts.proof.rank >= demand.proof.rank:
        return None
    found = f"backup {facts.backup_id} {facts.proof.value if facts.proof else 'of unknown proof'}"
    return Shortfall(part=SafetyPart.PROOF, found=found, expected=f"it {demand.proof.value}")


def _age(facts: SafetyFacts, demand: SafetyDemand) -> Shortfall | None:
    if facts.backup_age is not None and facts.backup_age <= demand.max_age:
        return None
    age = "of unknown age" if facts.backup_age is None else f"ended {format_duration(facts.backup_age)} ago"
    expected = f"one not older than {format_duration(demand.max_age)}"
    return Shortfall(part=SafetyPart.AGE, found=f"backup {facts.backup_id} {age}", expected=expected)


def _cut_off(backup_id: str, gap: Gap) -> Shortfall:
    """No waiting and no proof mends a gap: what lacks is a backup."""
    found = f"backup {backup_id} and after it a WAL gap, {gap.start} up to {gap.end} on timeline {gap.timeline}"
    return Shortfall(part=SafetyPart.BACKUP, found=found, expected="a new backup, taken after the gap")


def _wal(facts: SafetyFacts, restore_point: Lsn) -> Shortfall | None:
    if _is_held(facts, restore_point):
        return None
    held = f"WAL held up to {facts.durable_lsn}" if facts.durable_lsn else "no WAL held since the backup"
    return Shortfall(part=SafetyPart.WAL, found=held, expected=f"it up to the restore point {restore_point}")


def _is_held(facts: SafetyFacts, restore_point: Lsn) -> bool:
    return facts.durable_lsn is not None and facts.durable_lsn >= restore_point
