"""A unit that refuses transactions: CREATE INDEX CONCURRENTLY and its like, VACUUM, ALTER SYSTEM.

It cannot commit with its journal entry. So before it is sent after an earlier attempt without an answer, the catalog
is asked whether it was carried out; what the catalog cannot tell and must not be repeated ends as MG010.

A concurrent statement has no lock_timeout: it would count the wait for old snapshots, and each failure leaves an
invalid index. Instead old transactions are waited for first, and the statement is cancelled when it stays blocked for
the rest of the budget.
"""

from __future__ import annotations

import time
from datetime import timedelta
from enum import Enum
from typing import Any

import psycopg

from safepoint.migration.deploy.attempts import Patience, is_lost, is_retryable
from safepoint.migration.deploy.blockers import Watch, fetch_old_transactions
from safepoint.migration.deploy.books import earlier_entries, keep_books, require_still_pending
from safepoint.migration.deploy.catalog import IndexState, drop_concurrently, fetch_index
from safepoint.migration.deploy.deployment import Deployment
from safepoint.migration.deploy.failures import (
    Failure,
    connection_lost,
    kept_of,
    locked_out,
    statement_failed,
    unknown_outcome,
)
from safepoint.migration.deploy.session import apply_prelude, prisma_lock, set_lock_timeout
from safepoint.migration.deploy.task import UnitTask
from safepoint.migration.deploy.transaction import is_settled
from safepoint.model.json_value import JsonObject
from safepoint.postgres.parse import IndexTarget, Statement

_CREATES = "IndexStmt"


class Standing(Enum):
    """Whether the statement has to be sent."""

    TO_DO = "sent"
    DONE_BEFORE = "found done by an earlier attempt"


def carry_out_alone(task: UnitTask, deployment: Deployment) -> JsonObject:
    """The statement is carried out, and journal and ledger say so; no invalid index is left where it failed.

    Raises MG004 when PostgreSQL refuses it, MG005 for what it had to wait for, MG010 when nobody can tell.
    """
    patience = Patience(task.locks)
    began = time.monotonic()
    standing = _stand(task, deployment, patience)
    while standing is Standing.TO_DO and (failure := _attempt(task, deployment, patience)) is not None:
        _settle_failure(task, deployment, failure, patience)
    outcome: JsonObject = {"attempts": patience.attempts + 1, "statement": standing.value}
    _finish(task, deployment, outcome, time.monotonic() - began)
    return outcome


def _stand(task: UnitTask, deployment: Deployment, patience: Patience) -> Standing:
    """What an earlier attempt left is found and, where it is an invalid index, taken away."""
    connection = _ready(task, deployment)
    with prisma_lock(connection, patience):
        require_still_pending(connection, task)
    earlier = earlier_entries(deployment.control, task)
    unsettled = earlier[-1] if earlier and earlier[-1].is_unsettled else None
    statement = _statement(task)
    if statement.index is None:
        if unsettled is not None and not statement.is_repeatable:
            raise unknown_outcome(task, unsettled.number)
        return Standing.TO_DO
    apply_prelude(connection, task.unit.prelude, 0)
    index = _wait_for_builder(task, connection, statement.index, patience)
    if index is not None and index.is_leftover and statement.kind == _CREATES:
        _wait_for_old_transactions(task, deployment, patience)
        drop_concurrently(connection, index)
        return Standing.TO_DO
    is_done = unsettled is not None and _is_outcome_of(statement, statement.index, index)
    return Standing.DONE_BEFORE if is_done else Standing.TO_DO


def _is_outcome_of(statement: Statement, target: IndexTarget, index: IndexState | None) -> bool:
    """Whether the catalog is as the statement would leave it."""
    if statement.kind != _CREATES:
        return index is None
    return index is not None and index.is_valid and index.is_unique == target.is_unique


def _wait_for_builder(
    task: UnitTask, connection: psycopg.Connection[Any], target: IndexTarget, patience: Patience
) -> IndexState | None:
    """The index once nobody works at it: the server may go on building for a client that was killed."""
    while (index := fetch_index(connection, target)) is not None and index.is_being_built:
        if not patience.wait_a_little():
            raise locked_out(task, None, patience)
    return index


def _attempt(task: UnitTask, deployment: Deployment, patience: Patience) -> Failure | None:
    connection = _ready(task, deployment)
    statement = _statement(task)
    apply_prelude(connection, task.unit.prelude, task.locks.timeout_ms)
    if statement.is_concurrent:
        _wait_for_old_transactions(task, deployment, patience)
        set_lock_timeout(connection, 0)
    limit = patience.left if statement.is_concurrent else None
    with Watch(deployment.control, connection, limit=limit) as watch:
        try:
            connection.execute(statement.text.encode())
        except psycopg.Error as error:
            failure = Failure(error=error, statement=statement, blockers=watch.blockers)
        else:
            return None
    _take_leftover_away(task, connection)
    if watch.has_cancelled:
        raise locked_out(task, failure, patience)
    return failure


def _settle_failure(task: UnitTask, deployment: Deployment, failure: Failure, patience: Patience) -> None:
    """Returns when the statement should be sent again."""
    if deployment.worker.is_lost:
        # The catalog has to be asked before it is repeated: that is how the next run begins.
        raise connection_lost(task, failure.error)
    if not is_retryable(failure.error):
        raise statement_failed(task, failure, kept=kept_of(task))
    if not patience.allows_another():
        raise locked_out(task, failure, patience)


def _take_leftover_away(task: UnitTask, connection: psycopg.Connection[Any]) -> None:
    statement = _statement(task)
    if is_lost(connection) or statement.index is None or statement.kind != _CREATES:
        return
    set_lock_timeout(connection, 0)
    index = fetch_index(connection, statement.index)
    if index is not None and index.is_leftover:
        drop_concurrently(connection, index)


def _wait_for_old_transactions(task: UnitTask, deployment: Deployment, patience: Patience) -> None:
    """No transaction of this database is older than one attempt may wait; MG005 naming those that stay."""
    ours = [pid for pid in (deployment.worker.pid, deployment.control.info.backend_pid) if pid is not None]
    age: timedelta = task.locks.timeout
    while old := fetch_old_transactions(deployment.control, older_than=age, except_pids=ours):
        if not patience.wait_a_little():
            raise locked_out(task, None, patience, old)


def _finish(task: UnitTask, deployment: Deployment, outcome: JsonObject, seconds: float) -> None:
    """The books of a statement that is done; a kill before this is healed by the next run's look at the catalog.

    They have a budget of their own: the statement may have taken longer than all of its unit's.
    """
    patience = Patience(task.locks)
    while True:
        try:
            connection = _ready(task, deployment)
            with prisma_lock(connection, patience), connection.transaction():
                require_still_pending(connection, task)
                keep_books(connection, task, deployment.journal, outcome, seconds)
        except psycopg.OperationalError as error:
            if deployment.worker.is_lost and is_settled(task, deployment, patience):
                return
            if not patience.wait_a_little():
                failure = Failure(error=error, statement=None, stage="books")
                raise (
                    locked_out(task, failure, patience) if is_retryable(error) else connection_lost(task, error)
                ) from error
        else:
            return


def _ready(task: UnitTask, deployment: Deployment) -> psycopg.Connection[Any]:
    return deployment.worker.ready(task.unit.migration, task.locks.timeout_ms)


def _statement(task: UnitTask) -> Statement:
    (statement,) = task.unit.statements
    return statement
