"""What the catalog says of an index that a concurrent statement was about: it outlives the session that made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from safepoint.postgres.parse import IndexTarget

_COLUMNS = """
SELECT n.nspname AS schema, c.relname AS name, i.indisvalid AND i.indisready AS is_valid, i.indisunique AS is_unique,
    EXISTS (SELECT 1 FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid)
    OR NOT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AND EXISTS (
        SELECT 1 FROM pg_locks l WHERE l.relation = i.indrelid AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted
        AND l.pid <> pg_backend_pid()
        AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
    ) AS is_being_built
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""
"""The progress view hides others' builds from a role without pg_read_all_stats; the lock they hold is seen by all."""
_ON_TABLE = _COLUMNS + "WHERE c.relname = %(name)s AND i.indrelid = to_regclass(%(relation)s)"
_BY_NAME = _COLUMNS + "WHERE c.oid = to_regclass(%(relation)s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexState:
    """An index that exists. `is_being_built`: some session works at it right now."""

    schema: str
    name: str
    is_valid: bool
    is_unique: bool
    is_being_built: bool

    @property
    def is_leftover(self) -> bool:
        """What a failed concurrent build leaves behind: it costs every write and serves no read."""
        return not self.is_valid and not self.is_being_built


def fetch_index(connection: psycopg.Connection[Any], target: IndexTarget) -> IndexState | None:
    """The index of that very name on that very table (any table where the text names none), by the search path."""
    query = _BY_NAME if target.table is None else _ON_TABLE
    schema, name = (target.schema, target.name) if target.table is None else (target.table_schema, target.table)
    relation = sql.Identifier(*(part for part in (schema, name) if part)).as_string(connection)
    with connection.cursor(row_factory=class_row(IndexState)) as cursor:
        return cursor.execute(query, {"name": target.name, "relation": relation}).fetchone()


def drop_concurrently(connection: psycopg.Connection[Any], index: IndexState) -> None:
    """The index is gone; reads and writes went on."""
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(index.schema, index.name)))
