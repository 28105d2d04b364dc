"""The safety gate: a restore point, a proven backup, and WAL durable up to that point; or one recorded reason.

Nothing of the migration has begun while it is closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg

from safepoint import errors
from safepoint.migration.deploy.deployment import Deployment
from safepoint.migration.deploy.settings import DeploySettings
from safepoint.model.json_value import JsonObject
from safepoint.model.lsn import Lsn
from safepoint.model.proof import ProofLevel
from safepoint.model.safety import Safety, SafetyDemand, SafetyFacts, SafetyPart, Shortfall, shortfalls
from safepoint.steps.execute import Action, Context
from safepoint.steps.plan import Step, StepKind

GATE_ACTION = "migrate.gate"
_POLL_SECONDS = 0.5
_CURES: dict[SafetyPart, str] = {
    SafetyPart.BACKUP: "take one: `safepoint backup`",
    SafetyPart.PROOF: "prove it: `safepoint verify`",
    SafetyPart.AGE: "take a new one: `safepoint backup`",
    SafetyPart.WAL: "let WAL be stored, and keep it running: `safepoint wal stream`",
}
_CANNOT_NAME = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ObjectNotInPrerequisiteState,
)


def gate_step(settings: DeploySettings, position: int) -> Step:
    """The gate as a step. `position` is the journal's: a plan made after anything was recorded is another plan.

    MG007 for a blank reason: that is a variable nobody set, and no decision.
    """
    if settings.without_backup is not None and not settings.without_backup.strip():
        raise errors.MG007.error(
            "found a blank reason for going without a backup, expected words that the journal can keep",
            hints=[errors.ask("is the variable set that was to hold the reason?")],
        )
    demand = settings.safety
    arguments: JsonObject = {
        "proof": demand.proof.value,
        "max_age": demand.max_age.total_seconds(),
        "deadline": demand.deadline.total_seconds(),
        "without_backup": settings.without_backup,
        "after_journal_entry": position,
    }
    title = "make sure that the database can be brought back to this moment"
    if settings.without_backup is not None:
        title = f"go without a backup: {settings.without_backup}"
    return Step(name="gate", action=GATE_ACTION, title=title, arguments=arguments, kind=StepKind.GATE)


def gate_action(
    deployment: Deployment, safety: Safety | None, *, sleep: Callable[[float], None] = time.sleep
) -> Action:
    """Opens when the step's demand is met within its deadline, or it names a reason; MG007 otherwise."""

    def decide(step: Step, _context: Context) -> JsonObject:
        arguments: Any = step.arguments
        point, how = make_restore_point(deployment)
        outcome = {"restore_point": str(point), "restore_point_is": how}
        if arguments["without_backup"] is not None:
            return {**outcome, "without_backup": arguments["without_backup"]}
        if safety is None:
            raise _unknown()
        facts = _wait(safety, point, _demand(arguments), sleep)
        return {**outcome, "backup": facts.backup_id, "durable_lsn": str(facts.durable_lsn)}

    return decide


def make_restore_point(deployment: Deployment) -> tuple[Lsn, str]:
    """The position to come back to, durable in this server's WAL; named where the role may name it."""
    name = f"safepoint_{deployment.plan.id}"
    try:
        row = deployment.control.execute("SELECT pg_create_restore_point(%s)::text", [name]).fetchone()
        how = name
    except _CANNOT_NAME:
        row = deployment.control.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        how = "a position without a name"
    assert row is not None  # noqa: S101 - both functions return one row
    point = Lsn.parse(row[0])
    deployment.journal.record_restore_point(point)
    return point, how


def _wait(safety: Safety, point: Lsn, demand: SafetyDemand, sleep: Callable[[float], None]) -> SafetyFacts:
    """Only WAL comes by waiting; what else is missing is said at once."""
    deadline = time.monotonic() + demand.deadline.total_seconds()
    while missing := shortfalls(facts := safety.facts(point), demand, point):
        if any(shortfall.part is not SafetyPart.WAL for shortfall in missing) or time.monotonic() >= deadline:
            raise _closed(missing)
        sleep(_POLL_SECONDS)
    return facts


def _closed(missing: tuple[Shortfall, ...]) -> errors.SafepointError:
    parts = "; ".join(f"found {shortfall.found}, expected {shortfall.expected}" for shortfall in missing)
    return errors.MG007.error(
        parts,
        hints=[
            *(errors.run(_CURES[shortfall.part]) for shortfall in missing),
            errors.run("or take the risk, on record: `safepoint migrate deploy --without-backup REASON`"),
        ],
    )


def _unknown() -> errors.SafepointError:
    return errors.MG007.error(
        "found no repository to ask (unknown), expected a backup of this cluster",
        hints=[
            errors.run("name one under [repository.NAME] in safepoint.toml, then `safepoint backup`"),
            errors.run("or take the risk, on record: `safepoint migrate deploy --without-backup REASON`"),
        ],
    )


def _demand(arguments: Any) -> SafetyDemand:
    return SafetyDemand(
        proof=ProofLevel(arguments["proof"]),
        max_age=timedelta(seconds=arguments["max_age"]),
        deadline=timedelta(seconds=arguments["deadline"]),
    )
