"""The canary: one row every few seconds, by which a restore proves exactly what it holds and what it does not.

A ring of rows in `safepoint.canary`: each has the server's clock and the insert position just before its commit, and
is overwritten after `RING` others. Nothing but the primary is written to; what goes wrong is told, and the WAL goes on.
"""

from __future__ import annotations

from typing import Any

import psycopg

from safepoint import errors
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl

RING = 8640
"""Rows kept: a day of one every ten seconds."""

ROW_WAL_BYTES = 400
"""WAL that one row costs: the row, its commit, and its share of the pages that are first changed after a checkpoint.

Measured as the difference of pg_current_wal_insert_lsn() on PostgreSQL 15 and 18, with data checksums and
full_page_writes: 404 bytes a row in a full ring for the 30 rows between two checkpoints (checkpoint_timeout 5 min, a
row every 10 s); 279 over 370 rows.
"""

_CREATE = """
CREATE SCHEMA IF NOT EXISTS safepoint;
CREATE TABLE IF NOT EXISTS safepoint.canary (
    place       integer     PRIMARY KEY,
    number      bigint      NOT NULL,
    written_at  timestamptz NOT NULL,
    insert_lsn  pg_lsn      NOT NULL
) WITH (fillfactor = 50);
"""
_SESSION = """
SET synchronous_commit = local;
SET statement_timeout = '5s';
SET lock_timeout = '2s';
SET application_name = 'safepoint canary';
"""
# The position is read before the commit: a copy recovered to before it cannot hold the row.
_WRITE = """
INSERT INTO safepoint.canary AS ring (place, number, written_at, insert_lsn)
SELECT mod(next.number, %s), next.number, clock_timestamp(), pg_current_wal_insert_lsn()
FROM (SELECT coalesce(max(number), 0) + 1 AS number FROM safepoint.canary) AS next
ON CONFLICT (place) DO UPDATE
SET number = excluded.number, written_at = excluded.written_at, insert_lsn = excluded.insert_lsn
"""


class Canary:
    """Writes to whatever server is the source just now."""

    def __init__(self, ring: int = RING) -> None:
        self._ring = ring
        self._url: DatabaseUrl | None = None
        self._connection: psycopg.Connection[Any] | None = None
        self._may_write = True

    def sing(self, url: DatabaseUrl | None) -> None:
        """One row more is committed; nothing where the server is a standby or read-only.

        Raises PG004 when the server does not answer, PG007 when the role may not write.
        """
        if url is None:
            return
        try:
            connection = self._connected(url)
            if self._may_write:
                connection.execute(_WRITE, [self._ring])
        except psycopg.errors.ReadOnlySqlTransaction:
            self._may_write = False
        except psycopg.errors.InsufficientPrivilege as error:
            self.close()
            raise errors.PG007.error(
                f"found that the canary cannot be written ({_one_line(error)}), expected the role to own schema "
                "safepoint",
                changed="WAL goes on being received, without canaries",
                hints=[errors.run("as the database's owner: `CREATE SCHEMA safepoint AUTHORIZATION <role>`")],
            ) from error
        except psycopg.Error as error:
            self.close()
            raise errors.PG004.error(
                f"found that the canary cannot be written ({_one_line(error)}), expected a row",
                changed="WAL goes on being received, without canaries",
                hints=[errors.ask("is the server overloaded, or does somebody lock safepoint.canary?")],
            ) from error

    def close(self) -> None:
        """The connection is closed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self, url: DatabaseUrl) -> psycopg.Connection[Any]:
        if self._connection is not None and (self._url != url or self._connection.closed):
            self.close()
        if self._connection is None:
            self._connection = connect(url, application_name="safepoint canary")
            self._url = url
            self._connection.execute(_SESSION)
            self._may_write = _may_write(self._connection)
            if self._may_write and not _exists(self._connection):
                self._connection.execute(_CREATE)
        return self._connection


def _may_write(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute(
        "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"
    ).fetchone()
    return bool(row and row[0])


def _exists(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute("SELECT to_regclass('safepoint.canary') IS NOT NULL").fetchone()
    return bool(row and row[0])


def _one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
