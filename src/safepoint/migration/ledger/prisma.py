"""Prisma's own table, `_prisma_migrations`, read and written as Prisma 5 to 7 leave it.

Rows of ours are finished from the start, in the transaction that makes their migration whole: an unfinished one would
block everybody (P3009). Source: prisma-engines, sql-schema-connector (sql_migration_persistence.rs) and
flavour/postgres; compared with the real one in tests/prisma.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from safepoint import errors
from safepoint.migration.ledger.row import LedgerRow

TABLE = "_prisma_migrations"
ADVISORY_LOCK = 72707369
"""The session lock that every `prisma migrate deploy` holds from its start to its end."""

_IGNORED_TABLES = ("spatial_ref_sys",)
"""PostGIS's own, which Prisma does not count when it asks whether a schema is empty."""

_CREATE = sql.SQL("""
CREATE TABLE {table} (
    id                      VARCHAR(36) PRIMARY KEY NOT NULL,
    checksum                VARCHAR(64) NOT NULL,
    finished_at             TIMESTAMPTZ,
    migration_name          VARCHAR(255) NOT NULL,
    logs                    TEXT,
    rolled_back_at          TIMESTAMPTZ,
    started_at              TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied_steps_count     INTEGER NOT NULL DEFAULT 0
)
""")
_INSERT = sql.SQL("""
INSERT INTO {table} (id, checksum, finished_at, migration_name, started_at, applied_steps_count)
SELECT %(id)s, %(checksum)s, clock_timestamp(), %(name)s,
    least(coalesce(%(started_at)s, transaction_timestamp()), clock_timestamp()), 1
""")
_TABLES = """
SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind = 'r' AND lower(c.relname) <> ALL (%s) ORDER BY 1
"""


def has_ledger(connection: psycopg.Connection[Any], schema: str) -> bool:
    """Whether the table is there."""
    query = "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text)) IS NOT NULL"
    row = connection.execute(query, [schema, TABLE]).fetchone()
    return bool(row and row[0])


def fetch_rows(connection: psycopg.Connection[Any], schema: str, migration: str | None = None) -> tuple[LedgerRow, ...]:
    """Every row, or those of one migration, oldest first; none when there is no table. PG007 when not allowed to."""
    if not has_ledger(connection, schema):
        return ()
    columns = sql.SQL(", ").join(map(sql.Identifier, LedgerRow.__slots__))
    wanted = "SELECT {} FROM {} WHERE migration_name = coalesce(%s, migration_name) ORDER BY started_at"
    try:
        with connection.cursor(row_factory=class_row(LedgerRow)) as cursor:
            return tuple(
                cursor.execute(sql.SQL(wanted).format(columns, _table_beside_values(schema)), [migration]).fetchall()
            )
    except psycopg.errors.InsufficientPrivilege as error:
        raise errors.PG007.error(
            f"found no right to read {schema}.{TABLE}, expected the role that owns the schema",
            hints=[errors.run(f'grant it: `GRANT SELECT, INSERT ON "{schema}"."{TABLE}" TO <role>`')],
        ) from error


def require_empty(connection: psycopg.Connection[Any], schema: str) -> None:
    """Nothing when the schema holds no ordinary table or partition, the rest does not count; else MG003 (P3005)."""
    found = connection.execute(_TABLES, [schema, list(_IGNORED_TABLES)]).fetchall()
    if not found:
        return
    names = ", ".join(str(row[0]) for row in found[:3]) + (", …" if len(found) > 3 else "")  # noqa: PLR2004
    raise errors.MG003.error(
        f"found tables in schema {schema} ({names}) and no {TABLE}, expected the ledger or an empty schema",
        hints=[
            errors.ask("is this the right database and schema, or one that was made without migrations?"),
            errors.run(
                "if its shape is that of the first migrations, say so for each of them: "
                "`npx prisma migrate resolve --applied <name>`"
            ),
        ],
    )


def create_ledger(connection: psycopg.Connection[Any], schema: str) -> None:
    """The schema and the table exist; both stay as they are where they are there already."""
    if has_ledger(connection, schema):
        return
    known = connection.execute("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", [schema]).fetchone()
    if known is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    connection.execute(_CREATE.format(table=_table(schema)))


def insert_finished(
    connection: psycopg.Connection[Any],
    schema: str,
    *,
    name: str,
    checksum: str,
    started_at: datetime | None,
) -> None:
    """The row, in the connection's transaction: finished now, begun at `started_at` or with that transaction."""
    values = {"id": str(uuid.uuid4()), "checksum": checksum, "name": name, "started_at": started_at}
    connection.execute(_INSERT.format(table=_table_beside_values(schema)), values)


def standing_row(connection: psycopg.Connection[Any], schema: str, name: str) -> LedgerRow | None:
    """The newest row of that migration that was not rolled back."""
    rows = [row for row in fetch_rows(connection, schema, name) if row.rolled_back_at is None]
    return rows[-1] if rows else None


def _table(schema: str) -> sql.Identifier:
    return sql.Identifier(schema, TABLE)


def _table_beside_values(schema: str) -> sql.Identifier:
    """For a query that is given values: there psycopg takes every % for a placeholder's."""
    return sql.Identifier(schema.replace("%", "%%"), TABLE)
