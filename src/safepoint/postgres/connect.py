"""Connections made ready for long work.

Every connection of ours is direct or pooled by session, has no timeouts that could end a backup or a wait, keeps
itself alive, and would rather fail than let row-level security hide rows (PostgreSQL documentation, "Client
Connection Defaults" and "Row Security Policies").
"""

from __future__ import annotations

import psycopg
from psycopg.pq.abc import PGconn
from psycopg.rows import TupleRow

from safepoint import errors
from safepoint.model.version import SUPPORTED_MAJORS, PgVersion
from safepoint.postgres.pooler import require_direct
from safepoint.postgres.raw_connection import connection_error, conninfo_of, open_raw
from safepoint.postgres.url import DatabaseUrl

__all__ = ["connect", "replication_connection", "require_direct"]

_SESSION = (
    "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; "
    "SET idle_session_timeout = 0; SET row_security = off"
)
_TRANSACTION_TIMEOUT_SINCE = 17
_REPLICATION = "-c idle_session_timeout=0 -c statement_timeout=0 -c client_min_messages=warning"
"""Warnings name what is damaged: a role's own settings must not keep them from us."""


def connect(
    url: DatabaseUrl, *, autocommit: bool = True, application_name: str = "safepoint"
) -> psycopg.Connection[TupleRow]:
    """A connection to a server of a supported version, in a session of our own.

    Raises PG004 when there is none to be had, PG007 when the role is not let in, PG005 behind a transaction pooler,
    PG009 for a version safepoint does not know.
    """
    connection = _open(url, application_name)
    try:
        if not _is_direct(connection):
            # What we SET must not reach other clients, so nothing is set before this is known.
            connection.close()
            require_direct(url)
            connection = _open(url, application_name)
        _prepare(connection, _supported_version(connection))
        connection.autocommit = autocommit
    except BaseException:
        connection.close()
        raise
    return connection


def replication_connection(url: DatabaseUrl, application_name: str = "safepoint") -> PGconn:
    """A connection that speaks the streaming replication protocol, without timeouts; the caller finishes it.

    A pooler cannot be told from here (there is no SQL): `require_direct` first. Raises PG004 and PG007.
    """
    given = dict(url.parameters).get("options")
    options = f"{given} {_REPLICATION}" if given else _REPLICATION
    return open_raw(url, application_name=application_name, replication="true", options=options)


def _open(url: DatabaseUrl, application_name: str) -> psycopg.Connection[TupleRow]:
    try:
        # Left to itself psycopg speaks the database's encoding, and gives bytes for text where that is SQL_ASCII.
        return psycopg.connect(
            conninfo_of(url, application_name=application_name, client_encoding="UTF8"), autocommit=True
        )
    except psycopg.OperationalError as error:
        raise connection_error(url, str(error)) from None


def _is_direct(connection: psycopg.Connection[TupleRow]) -> bool:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row is not None and row[0] == connection.info.backend_pid


def _supported_version(connection: psycopg.Connection[TupleRow]) -> PgVersion:
    version = PgVersion(connection.info.server_version)
    if version.major not in SUPPORTED_MAJORS:
        raise errors.PG009.error(
            f"found a server of PostgreSQL {version}, expected {SUPPORTED_MAJORS[0]} to {SUPPORTED_MAJORS[-1]}"
        )
    return version


def _prepare(connection: psycopg.Connection[TupleRow], version: PgVersion) -> None:
    connection.execute(_SESSION)
    if version.major >= _TRANSACTION_TIMEOUT_SINCE:
        connection.execute("SET transaction_timeout = 0")
