"""The end of a unit, in the unit's own transaction: its journal entry and, with the last one, the file's row."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import psycopg

from safepoint import errors
from safepoint.migration.deploy.task import UnitTask
from safepoint.migration.ledger import prisma
from safepoint.migration.ledger.journal import DatabaseJournal, UnitEntry, fetch_open_entries
from safepoint.model.json_value import JsonObject
from safepoint.model.measures import format_instant, system_clock
from safepoint.steps.journal import Entry, Event

_AS_OURSELVES = (
    "RESET SESSION AUTHORIZATION; RESET ROLE; SET LOCAL statement_timeout = 0; SET LOCAL client_encoding = 'UTF8'"
)


def require_still_pending(connection: psycopg.Connection[Any], task: UnitTask) -> None:
    """Nothing when the unit is still to be done; MG006 when somebody else has begun or applied it since the plan.

    That may be `prisma migrate`, or a run of ours whose control session, and with it its lease, was ended while its
    unit went on. Called under Prisma's lock: what it finds stays true while that is held.
    """
    row = prisma.standing_row(connection, task.schema, task.unit.migration)
    if row is not None:
        state = "finished" if row.is_applied else "begun and not finished"
        raise _overtaken(f"{task.unit.migration} {state}", row.started_at)
    for entry in fetch_open_entries(connection, task.schema, task.unit.migration):
        if entry.unit == task.unit.number and entry.event is Event.FINISHED:
            raise _overtaken(f"{task.title} carried out", entry.recorded_at)


def _overtaken(what: str, at: datetime) -> errors.SafepointError:
    return errors.MG006.error(
        f"found {what} by somebody else at {format_instant(at)}, expected it pending as planned",
        changed="what is committed stays, and is recorded once",
        hints=[
            errors.ask("does a container run `prisma migrate deploy` when it starts?"),
            errors.run("plan anew from what is there: `safepoint migrate deploy`"),
        ],
    )


def keep_books(
    connection: psycopg.Connection[Any], task: UnitTask, journal: DatabaseJournal, outcome: JsonObject, seconds: float
) -> None:
    """Journal and ledger say that the unit is done when the connection's open transaction commits, and only then."""
    connection.execute(_AS_OURSELVES)
    entry = Entry(step=task.step, event=Event.FINISHED, at=system_clock().isoformat(), seconds=seconds, outcome=outcome)
    journal.record_within(connection, entry, closes=task.is_last)
    if task.is_last:
        begun = _begun(fetch_open_entries(connection, task.schema, task.unit.migration))
        prisma.insert_finished(
            connection,
            task.schema,
            name=task.unit.migration,
            checksum=task.checksum,
            started_at=begun,
        )


def earlier_entries(connection: psycopg.Connection[Any], task: UnitTask) -> tuple[UnitEntry, ...]:
    """What the journal says of this very unit before the attempt that is being made now, oldest first."""
    entries = [
        entry
        for entry in fetch_open_entries(connection, task.schema, task.unit.migration)
        if (entry.unit, entry.digest) == (task.unit.number, task.unit.digest)
    ]
    return tuple(entries[:-1])


def _begun(entries: Iterable[UnitEntry]) -> datetime | None:
    """When the attempt began that is now complete: the earliest of each unit's last start."""
    last_start = {entry.unit: entry.recorded_at for entry in entries if entry.event is Event.STARTED}
    return min(last_start.values(), default=None)
