"""The actions of a deployment's plan, bound to its sessions. Each may be repeated."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import psycopg

from safepoint import errors
from safepoint.migration.answers import COMMITTED_STAYS, answered
from safepoint.migration.deploy.alone import carry_out_alone
from safepoint.migration.deploy.attempts import Patience
from safepoint.migration.deploy.deployment import Deployment
from safepoint.migration.deploy.failures import Failure, connection_lost, statement_failed
from safepoint.migration.deploy.gate import GATE_ACTION, gate_action
from safepoint.migration.deploy.plan import CONFIRM_ACTION, LEDGER_ACTION
from safepoint.migration.deploy.session import prisma_lock
from safepoint.migration.deploy.settings import LockBudget, locks_from_json
from safepoint.migration.deploy.task import UNIT_ACTION, task_of
from safepoint.migration.deploy.transaction import carry_out_transaction
from safepoint.migration.ledger import prisma
from safepoint.migration.units import UnitKind
from safepoint.model.json_value import Json, JsonObject
from safepoint.model.safety import Safety
from safepoint.steps.execute import Action, Context
from safepoint.steps.plan import Step

_REPLAY_SECONDS = 5.0
_STANDBYS = """
SELECT application_name, replay_lsn >= %s::pg_lsn AS has_replayed FROM pg_stat_replication WHERE state = 'streaming'
"""


def deploy_actions(deployment: Deployment, *, safety: Safety | None) -> Mapping[str, Action]:
    """Every action that `plan_deploy` names. `safety` None: there is no repository, and the gate says so."""
    return {
        GATE_ACTION: gate_action(deployment, safety),
        LEDGER_ACTION: _ledger_action(deployment),
        UNIT_ACTION: _unit_action(deployment),
        CONFIRM_ACTION: _confirm_action(deployment),
    }


def _unit_action(deployment: Deployment) -> Action:
    def carry_out(step: Step, _context: Context) -> JsonObject:
        task = task_of(step)
        act = carry_out_alone if task.unit.kind is UnitKind.ALONE else carry_out_transaction
        try:
            return act(task, deployment)
        except psycopg.Error as error:
            if deployment.worker.is_lost or deployment.control.closed:
                raise connection_lost(task, error) from error
            raise statement_failed(task, Failure(error=error, statement=None, stage="preparation")) from error

    return carry_out


def _ledger_action(deployment: Deployment) -> Action:
    """The ledger's table exists; MG003 when the schema has tables and no ledger."""

    def create(step: Step, _context: Context) -> JsonObject:
        arguments: Any = step.arguments
        locks = locks_from_json(arguments["locks"])
        with answered(f"make {prisma.TABLE} in schema {arguments['schema']}"):
            connection = deployment.worker.ready("", locks.timeout_ms)
            return make(connection, arguments["schema"], locks)

    def make(connection: psycopg.Connection[Any], schema: str, locks: LockBudget) -> JsonObject:
        with prisma_lock(connection, Patience(locks)):
            if prisma.has_ledger(connection, schema):
                return {"created": False}
            prisma.require_empty(connection, schema)
            with connection.transaction():
                prisma.create_ledger(connection, schema)
        return {"created": True}

    return create


def _confirm_action(deployment: Deployment) -> Action:
    """Every migration of the plan has a finished row; says of each standby whether it has replayed all of it."""

    def confirm(step: Step, _context: Context) -> JsonObject:
        arguments: Any = step.arguments
        with answered("see every row finished", changed=COMMITTED_STAYS):
            rows = prisma.fetch_rows(deployment.control, arguments["schema"])
            standbys = _standbys(deployment.control)
        finished = {row.migration_name for row in rows if row.is_applied}
        missing = [name for name in arguments["migrations"] if name not in finished]
        if missing:
            raise errors.MG010.error(
                f"found no finished row for {missing[0]} after its last unit committed, expected one",
                changed="every unit of the plan is committed",
                hints=[errors.ask("was the row deleted or rolled back by hand meanwhile?")],
            )
        return {"rows": len(arguments["migrations"]), "standbys": standbys}

    return confirm


def _standbys(control: psycopg.Connection[Any]) -> Json:
    """By name: true when everything is replayed there, false after waiting a little, None where it cannot be seen."""
    row = control.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    deadline = time.monotonic() + _REPLAY_SECONDS
    while True:
        found = control.execute(_STANDBYS, [row[0] if row else None]).fetchall()
        if all(has_replayed is not False for _, has_replayed in found) or time.monotonic() >= deadline:
            return {str(name): has_replayed for name, has_replayed in found}
        time.sleep(0.1)
