"""The journal of deployments, kept in schema `safepoint` of the database that they change.

Invariant: a unit's FINISHED entry commits with the unit itself (`record_within`), so a process killed at any point
leaves a journal that tells the truth; the executor's own FINISHED entry for that step, which comes later, finds it
there and adds nothing. Entries of units carry migration, number and digest, because a later plan, with an id of its
own, must know what an earlier one left behind. An entry that `closes` is that of a file's last unit, written with the
file's row in the ledger: what is older tells nothing about an attempt that follows (a row taken back by hand).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from safepoint import errors
from safepoint.migration.answers import COMMITTED_STAYS, is_ending, one_line, refusal
from safepoint.model.lsn import Lsn
from safepoint.steps.journal import Entry, Event
from safepoint.steps.plan import Plan, Step, plan_to_json

SCHEMA = "safepoint"

_CREATE = """
CREATE SCHEMA IF NOT EXISTS safepoint;
CREATE TABLE IF NOT EXISTS safepoint.plan (
    id             text        PRIMARY KEY,
    opened_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    content        jsonb       NOT NULL,
    restore_point  pg_lsn
);
CREATE TABLE IF NOT EXISTS safepoint.journal (
    number         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plan           text        NOT NULL REFERENCES safepoint.plan,
    step           text        NOT NULL,
    event          text        NOT NULL CHECK (event IN ('started', 'finished', 'failed')),
    at             timestamptz NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    seconds        double precision,
    outcome        jsonb       NOT NULL,
    ledger         text,
    migration      text,
    unit           integer,
    digest         text,
    closes         boolean     NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX IF NOT EXISTS journal_finished_once ON safepoint.journal (plan, step) WHERE event = 'finished';
CREATE INDEX IF NOT EXISTS journal_of_migration ON safepoint.journal (ledger, migration) WHERE migration IS NOT NULL;
"""
_INSERT = """
INSERT INTO safepoint.journal (plan, step, event, at, seconds, outcome, ledger, migration, unit, digest, closes)
VALUES (%(plan)s, %(step)s, %(event)s, %(at)s, %(seconds)s, %(outcome)s,
    %(ledger)s, %(migration)s, %(unit)s, %(digest)s, %(closes)s)
"""
_OPEN_ENTRIES = """
SELECT migration, unit, digest, event, outcome, recorded_at, number FROM safepoint.journal j
WHERE ledger = %(ledger)s AND migration = coalesce(%(migration)s, migration)
AND number > coalesce((
    SELECT max(number) FROM safepoint.journal c WHERE c.ledger = j.ledger AND c.migration = j.migration AND c.closes
), 0)
ORDER BY number
"""
_ANSWERED = frozenset({errors.MG004.code, errors.MG005.code})
"""Failures after which PostgreSQL itself has said that the statement was not carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitEntry:
    """What the journal says of a unit whose migration has no row yet."""

    migration: str
    unit: int
    digest: str
    event: Event
    error: str | None
    recorded_at: datetime
    number: int

    @property
    def is_unsettled(self) -> bool:
        """Begun, and nobody was told how it ended."""
        if self.event is Event.FAILED:
            return self.error not in _ANSWERED
        return self.event is Event.STARTED


def has_journal(connection: psycopg.Connection[Any]) -> bool:
    """Whether the tables are there."""
    row = connection.execute("SELECT to_regclass('safepoint.journal') IS NOT NULL").fetchone()
    return bool(row and row[0])


def create_journal(connection: psycopg.Connection[Any]) -> None:
    """The schema and its tables exist; PG007 with the statement that helps when the role may not make them."""
    if has_journal(connection):
        return
    try:
        with connection.transaction():
            connection.execute(_CREATE)
    except psycopg.errors.InsufficientPrivilege as error:
        raise errors.PG007.error(
            f"found no right to create schema {SCHEMA} in this database, expected it: the journal is kept there",
            hints=[errors.run(f"as the database's owner: `CREATE SCHEMA {SCHEMA} AUTHORIZATION <role>`")],
        ) from error


def fetch_open_entries(
    connection: psycopg.Connection[Any], ledger: str, migration: str | None = None
) -> tuple[UnitEntry, ...]:
    """Entries of units in that ledger's schema since their migration was last closed, oldest first.

    A unit that is finished here is committed, and its migration has no row yet. None where there is no journal;
    `migration` None for those of all.
    """
    if not has_journal(connection):
        return ()
    rows = connection.execute(_OPEN_ENTRIES, {"ledger": ledger, "migration": migration}).fetchall()
    return tuple(
        UnitEntry(
            migration=migration,
            unit=unit,
            digest=digest,
            event=Event(event),
            error=outcome.get("error"),
            recorded_at=recorded_at,
            number=number,
        )
        for migration, unit, digest, event, outcome, recorded_at, number in rows
    )


def fetch_position(connection: psycopg.Connection[Any]) -> int:
    """The number of the newest entry, 0 when there is none: two plans at the same position found the same journal."""
    if not has_journal(connection):
        return 0
    row = connection.execute("SELECT coalesce(max(number), 0) FROM safepoint.journal").fetchone()
    return int(row[0]) if row else 0


class DatabaseJournal:
    """The journal of one plan; `open_journal` makes it. Its connection must be in autocommit."""

    def __init__(self, connection: psycopg.Connection[Any], plan: Plan) -> None:
        self._connection = connection
        self._id = plan.id  # a digest of every step: computed once
        self._steps = {step.name: step for step in plan.steps}

    def entries(self) -> tuple[Entry, ...]:
        """Everything recorded of this plan, oldest first."""
        query = "SELECT step, event, at, seconds, outcome FROM safepoint.journal WHERE plan = %s ORDER BY number"
        rows = self._run(query, [self._id]).fetchall()
        return tuple(
            Entry(step=step, event=Event(event), at=at.isoformat(), seconds=seconds, outcome=outcome)
            for step, event, at, seconds, outcome in rows
        )

    def record(self, entry: Entry) -> None:
        """Makes the entry durable; a second FINISHED of a step adds nothing to the first."""
        conflict = " ON CONFLICT (plan, step) WHERE event = 'finished' DO NOTHING"
        self._run(_INSERT + conflict, self._values(entry, closes=False))

    def record_within(self, connection: psycopg.Connection[Any], entry: Entry, *, closes: bool) -> None:
        """The entry stands when the transaction of `connection` commits, and only then.

        UniqueViolation when the step was finished by somebody else.
        """
        connection.execute(_INSERT, self._values(entry, closes=closes))

    def has_finished(self, step: str) -> bool:
        """Whether the step's FINISHED entry is committed."""
        query = "SELECT 1 FROM safepoint.journal WHERE plan = %s AND step = %s AND event = 'finished'"
        return self._run(query, [self._id, step]).fetchone() is not None

    def record_restore_point(self, lsn: Lsn) -> None:
        """Keeps the position with the plan; its commit flushes WAL beyond that position."""
        self._run("UPDATE safepoint.plan SET restore_point = %s WHERE id = %s", [str(lsn), self._id])

    def _values(self, entry: Entry, *, closes: bool) -> dict[str, Any]:
        return {
            "plan": self._id,
            "step": entry.step,
            "event": entry.event.value,
            "at": entry.at,
            "seconds": entry.seconds,
            "outcome": Jsonb(entry.outcome),
            "closes": closes,
            **_unit_of(self._steps[entry.step]),
        }

    def _run(self, query: str, values: Any) -> psycopg.Cursor[Any]:
        try:
            return self._connection.execute(query.encode(), values)
        except psycopg.Error as error:
            if not is_ending(error):
                raise refusal(error, "keep the journal", changed=COMMITTED_STAYS) from error
            raise errors.PG004.error(
                f"found the control connection lost ({one_line(str(error))}), expected to keep the journal through it",
                changed="units that finished stay; the one in flight is settled by the next run",
                hints=[errors.run("once the server answers again: `safepoint migrate deploy` resumes")],
            ) from error


def open_journal(connection: psycopg.Connection[Any], plan: Plan) -> DatabaseJournal:
    """The plan's journal, in tables made if absent. Whoever opens it holds the deployment's lease."""
    create_journal(connection)
    query = "INSERT INTO safepoint.plan (id, content) VALUES (%s, %s) ON CONFLICT (id) DO NOTHING"
    connection.execute(query, [plan.id, json.dumps(plan_to_json(plan))])
    return DatabaseJournal(connection, plan)


def _unit_of(step: Step) -> dict[str, Any]:
    arguments = step.arguments
    names = {"ledger": "schema", "migration": "migration", "unit": "unit", "digest": "digest"}
    is_unit = "digest" in arguments
    return {column: arguments[name] if is_unit else None for column, name in names.items()}
