"""What one can do with a self-managed server, given what it and our role's rights are. Pure.

A right that lacks closes a feature and nothing else; a fact that is not known leaves the feature unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from safepoint.postgres.facts import ServerFacts


class Answer(Enum):
    """Whether a feature is there for us."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """One feature: `because` is the fact that decides, `cure` what would open it (empty when it is open)."""

    feature: str
    answer: Answer
    because: str
    cure: str = ""


def abilities_of(facts: ServerFacts, *, replication_obstacle: str | None) -> tuple[Ability, ...]:
    """Every feature of safepoint with its answer; `replication_obstacle` is why no replication connection was had."""
    return (
        _deploy(facts),
        _backup(facts, replication_obstacle),
        _stream(facts, replication_obstacle),
        _restore_points(facts),
        _blockers(facts),
    )


def _deploy(facts: ServerFacts) -> Ability:
    role = facts.role
    if facts.can_create_in_database:
        return _yes("migrate deploy", f"{role} may create schema safepoint in this database")
    return Ability(
        feature="migrate deploy",
        answer=Answer.NO,
        because=f"{role} may not create a schema in this database",
        cure=f'CREATE SCHEMA safepoint AUTHORIZATION "{role}"',
    )


def _backup(facts: ServerFacts, obstacle: str | None) -> Ability:
    feature = "backup"
    if not facts.can_replicate:
        return _no(feature, f"{facts.role} lacks REPLICATION", f'ALTER ROLE "{facts.role}" REPLICATION')
    if facts.wal_level == "minimal":
        return _no(feature, "wal_level is minimal", "ALTER SYSTEM SET wal_level = replica, and restart the server")
    if facts.max_wal_senders == 0:
        return _no(feature, "max_wal_senders is 0", "ALTER SYSTEM SET max_wal_senders = 10, and restart the server")
    if obstacle is not None:
        return _no(feature, obstacle, "allow replication connections for this role in pg_hba.conf")
    if facts.wal_level is None or facts.max_wal_senders is None:
        return Ability(feature=feature, answer=Answer.UNKNOWN, because="the server's settings are hidden from the role")
    return _yes(feature, "a replication connection was opened")


def _stream(facts: ServerFacts, obstacle: str | None) -> Ability:
    feature = "wal stream"
    base = _backup(facts, obstacle)
    if base.answer is not Answer.YES:
        return Ability(feature=feature, answer=base.answer, because=base.because, cure=base.cure)
    if facts.max_replication_slots == 0:
        return _no(feature, "max_replication_slots is 0", "ALTER SYSTEM SET max_replication_slots = 10, and restart")
    return _yes(feature, f"max_replication_slots is {facts.max_replication_slots}")


def _restore_points(facts: ServerFacts) -> Ability:
    role, function = facts.role, "pg_create_restore_point(text)"
    if facts.can_create_restore_point:
        return _yes("named restore points", f"{role} may call {function}")
    cure = f'GRANT EXECUTE ON FUNCTION {function} TO "{role}"; until then the gate records a bare LSN'
    return _no("named restore points", f"{role} may not call {function}", cure)


def _blockers(facts: ServerFacts) -> Ability:
    role = facts.role
    if facts.can_read_all_stats:
        return _yes("naming who blocks a deployment", f"{role} reads all statistics")
    cure = f'GRANT pg_read_all_stats TO "{role}"'
    return _no("naming who blocks a deployment", f"{role} sees no other role's queries", cure)


def _yes(feature: str, because: str) -> Ability:
    return Ability(feature=feature, answer=Answer.YES, because=because)


def _no(feature: str, because: str, cure: str) -> Ability:
    return Ability(feature=feature, answer=Answer.NO, because=because, cure=cure)
