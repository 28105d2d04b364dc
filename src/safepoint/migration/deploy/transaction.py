"""A unit that is one transaction: tried under lock_timeout until its locks are to be had or its budget is spent.

Its journal entry, and its file's row with the last unit, commit with it. When the session is lost, its server process
is waited for and the journal read before anything is sent again: the COMMIT may have gone through.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg

from safepoint.migration.deploy.attempts import Patience, is_lost, is_retryable
from safepoint.migration.deploy.blockers import Blocker, Watch
from safepoint.migration.deploy.books import keep_books, require_still_pending
from safepoint.migration.deploy.deployment import Deployment
from safepoint.migration.deploy.failures import Failure, connection_lost, locked_out, statement_failed
from safepoint.migration.deploy.session import apply_prelude, limit_transaction, prisma_lock, wait_until_gone
from safepoint.migration.deploy.task import UnitTask
from safepoint.model.json_value import JsonObject
from safepoint.postgres.parse import Statement

_LEAST_MS = 20
"""Waits that every busy table has, to be extended for one, fit."""


def carry_out_transaction(task: UnitTask, deployment: Deployment) -> JsonObject:
    """The unit is committed with its journal entry, once. MG004 when PostgreSQL refuses it, MG005 for its locks."""
    patience = Patience(task.locks)
    waited_for: tuple[Blocker, ...] = ()
    while (failure := _attempt(task, deployment, patience, waited_for)) is not None:
        waited_for = (*waited_for, *failure.blockers)
        if _is_lost_to(failure, deployment):
            if is_settled(task, deployment, patience):
                break
        elif not is_retryable(failure.error):
            raise statement_failed(task, failure)
        if not patience.allows_another():
            raise (
                locked_out(task, failure, patience)
                if is_retryable(failure.error)
                else connection_lost(task, failure.error)
            )
    return _outcome(patience, waited_for)


def is_settled(task: UnitTask, deployment: Deployment, patience: Patience) -> bool:
    """After a lost session: whether the unit is committed. Its server process has ended when this returns."""
    pid = deployment.worker.pid
    if pid is not None:
        wait_until_gone(deployment.control, pid, patience)
    return deployment.journal.has_finished(task.step)


def _attempt(
    task: UnitTask, deployment: Deployment, patience: Patience, waited_for: tuple[Blocker, ...]
) -> Failure | None:
    try:
        connection = deployment.worker.ready(task.unit.migration, task.locks.timeout_ms)
        with prisma_lock(connection, patience):
            every = task.locks.timeout.total_seconds() / 5
            with Watch(deployment.control, connection, every=every) as watch:
                return _send(task, connection, deployment, _outcome(patience, waited_for), watch)
    except psycopg.Error as error:
        return Failure(error=error, statement=None, stage="preparation")


def _send(
    task: UnitTask, connection: psycopg.Connection[Any], deployment: Deployment, outcome: JsonObject, watch: Watch
) -> Failure | None:
    """None when the unit is committed; rolled back otherwise, or the session is lost."""
    at: Statement | None = None
    stage = "preparation"
    began = time.monotonic()
    try:
        require_still_pending(connection, task)
        apply_prelude(connection, task.unit.prelude, task.locks.timeout_ms)
        connection.execute(task.unit.begin.encode())
        for at in task.unit.statements:
            limit_transaction(connection, _left_to_wait(task, watch))
            connection.execute(at.text.encode())
        at, stage = None, "COMMIT"
        limit_transaction(connection, _left_to_wait(task, watch))
        keep_books(connection, task, deployment.journal, outcome, time.monotonic() - began)
        connection.execute("COMMIT")
    except psycopg.Error as error:
        _roll_back(connection)
        return Failure(error=error, statement=at, stage=stage, blockers=watch.blockers)
    except BaseException:
        _roll_back(connection)
        raise
    return None


def _left_to_wait(task: UnitTask, watch: Watch) -> int:
    """Milliseconds. What earlier statements waited counts: all the time others queue behind the locks they got."""
    return max(_LEAST_MS, task.locks.timeout_ms - round(watch.waited_seconds * 1000))


def _roll_back(connection: psycopg.Connection[Any]) -> None:
    if not is_lost(connection):
        connection.execute("ROLLBACK")


def _is_lost_to(failure: Failure, deployment: Deployment) -> bool:
    return failure.error.sqlstate is None or deployment.worker.is_lost


def _outcome(patience: Patience, waited_for: tuple[Blocker, ...]) -> JsonObject:
    return {"attempts": patience.attempts + 1, "blocked_by": list(dict.fromkeys(map(str, waited_for)))}
