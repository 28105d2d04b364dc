"""A deployment that is under way: its two sessions, its lease and its journal."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from safepoint.migration.answers import QUEUE_SECONDS, answered
from safepoint.migration.deploy.session import APPLICATION_NAME, Worker, lease
from safepoint.migration.ledger.journal import DatabaseJournal, open_journal
from safepoint.postgres.connect import connect, require_direct
from safepoint.postgres.url import DatabaseUrl
from safepoint.steps.plan import Plan

_DURABLE = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
"""A journal entry lost in a crash would let a unit that stands alone run twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """`control` holds the lease and keeps the journal, in autocommit; `worker` carries out units."""

    plan: Plan
    control: psycopg.Connection[Any]
    worker: Worker
    journal: DatabaseJournal


@contextmanager
def open_deployment(url: DatabaseUrl, plan: Plan, *, schema: str | None = None) -> Generator[Deployment]:
    """The right to carry the plan out in that database, alone, until the context ends. `schema` None: the plan's.

    Schema `safepoint` exists when it begins. Raises MG006 when another deployment runs, MG005 and MG011
    when the journal cannot be kept, PG004, PG005, PG007, PG010.
    """
    require_direct(url)
    with connect(url, application_name=APPLICATION_NAME) as control, lease(control):
        with answered("keep the journal in schema safepoint"):
            control.execute(f"SET lock_timeout = '{QUEUE_SECONDS}s'".encode())
            control.execute(_DURABLE)
            journal = open_journal(control, plan)
        worker = Worker(url, schema or _schema_of(plan))
        try:
            yield Deployment(plan=plan, control=control, worker=worker, journal=journal)
        finally:
            worker.close()


def _schema_of(plan: Plan) -> str:
    """The schema of the ledger, which every step names that needs it; a plan without such steps sends nothing."""
    schemas = {str(step.arguments["schema"]) for step in plan.steps if "schema" in step.arguments}
    return next(iter(schemas), "public")
