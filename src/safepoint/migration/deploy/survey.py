"""What folder and database say before a deployment is planned; also what `migrate status` shows. Changes nothing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from safepoint.migration.answers import QUEUE_SECONDS, answered
from safepoint.migration.deploy.session import APPLICATION_NAME
from safepoint.migration.ledger import prisma
from safepoint.migration.ledger.journal import UnitEntry, fetch_open_entries, fetch_position
from safepoint.migration.sources.prisma import read_folder
from safepoint.migration.status import History, State, compare, history_to_json, warnings_of
from safepoint.model.json_value import Json, JsonObject
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl
from safepoint.steps.journal import Event

DEFAULT_SCHEMA = "public"


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The history, what the journal says of migrations without a row, and how far the journal went."""

    database: str
    schema: str
    folder: str
    has_ledger: bool
    history: History
    units: tuple[UnitEntry, ...]
    position: int

    @property
    def committed(self) -> tuple[UnitEntry, ...]:
        """Units that must not run again."""
        return tuple(entry for entry in self.units if entry.event is Event.FINISHED)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd and stops nothing."""
        return warnings_of(self.history)

    def to_json(self) -> JsonObject:
        """For `migrate status --json`."""
        committed: list[Json] = [{"migration": entry.migration, "unit": entry.unit} for entry in self.committed]
        return {
            "database": self.database,
            "schema": self.schema,
            "folder": self.folder,
            "has_ledger": self.has_ledger,
            "is_up_to_date": self.history.is_up_to_date,
            "counts": {state.value: len(self.history.of(state)) for state in State},
            "migrations": history_to_json(self.history),
            "committed_units": committed,
            "warnings": list(self.warnings),
        }


def survey(url: DatabaseUrl, folder: Path, *, schema: str | None = None) -> Survey:
    """Read now, from a session of its own. `schema` wins over the URL's `?schema=`, which wins over public.

    Raises MG005, MG008, MG011, PG004, PG007.
    """
    files = read_folder(folder)
    where = schema or url.schema or DEFAULT_SCHEMA
    with answered(f"read ledger and journal of schema {where}"), _looking(url) as connection:
        has_ledger = prisma.has_ledger(connection, where)
        history = compare(files, prisma.fetch_rows(connection, where))
        units = fetch_open_entries(connection, where)
        position = fetch_position(connection)
    return Survey(
        database=url.redacted,
        schema=where,
        folder=str(folder),
        has_ledger=has_ledger,
        history=history,
        units=units,
        position=position,
    )


def require_ledger_or_empty(url: DatabaseUrl, found: Survey) -> None:
    """Nothing when Prisma would begin here too; MG003 otherwise."""
    if found.has_ledger:
        return
    with answered(f"look into schema {found.schema}"), _looking(url) as connection:
        prisma.require_empty(connection, found.schema)


@contextmanager
def _looking(url: DatabaseUrl) -> Generator[psycopg.Connection[Any]]:
    with connect(url, application_name=APPLICATION_NAME) as connection:
        connection.execute(f"SET lock_timeout = '{QUEUE_SECONDS}s'".encode())
        yield connection
