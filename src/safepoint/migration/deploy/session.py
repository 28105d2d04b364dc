"""The sessions of a deployment: one that works, one that holds the lease, and the locks that keep others out.

The lease is a session lock of ours on the control connection, for the whole deployment: it ends with the process,
however that dies. Prisma's own lock is held around ledger access and single transactions only, and never waited for
inside the server: a session blocked in pg_advisory_lock holds a snapshot that CONCURRENTLY waits for.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from safepoint import errors
from safepoint.migration.answers import COMMITTED_STAYS
from safepoint.migration.deploy.attempts import Patience, is_lost
from safepoint.migration.ledger.prisma import ADVISORY_LOCK
from safepoint.model.measures import format_instant
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl

APPLICATION_NAME = "safepoint migrate"
LEASE = 0x5AFE9017
"""The key of our session lock: at most one deployment of safepoint per database."""

SILENCE_SECONDS = 10
"""A transaction of ours that hears nothing from us for so long is ended by the server: its locks stand in everybody's
way while our process is stopped, or its machine is cut off."""

_PREPARE = """
RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL;
SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET idle_session_timeout = 0;
SET row_security = off; SET client_encoding = 'UTF8';
"""
_NO_TRANSACTION_TIMEOUT = "SET transaction_timeout = 0;"
_TRANSACTION_TIMEOUT_SINCE = 170000
_NOTICE_DEATH = "SET client_connection_check_interval = '2s'"
_HOLDER = """
SELECT l.pid, a.application_name, a.usename, a.backend_start FROM pg_locks l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.classid = 0 AND l.objid = %s AND l.objsubid = 1 AND l.granted
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Worker:
    """The session in which units run: opened when needed, again after a loss, and clean before every unit."""

    def __init__(self, url: DatabaseUrl, schema: str) -> None:
        self._url = url
        self._schema = schema
        self._connection: psycopg.Connection[Any] | None = None
        self._migration: str | None = None
        self._pid: int | None = None  # libpq forgets it with the connection
        self._can_notice_death = False
        self._has_transaction_timeout = False

    @property
    def pid(self) -> int | None:
        """The server process of the session, also after it was lost; None before the first."""
        return self._pid

    @property
    def is_lost(self) -> bool:
        """Whether the last session was lost, and with it the answer to what was sent."""
        return self._connection is not None and is_lost(self._connection)

    def ready(self, migration: str, lock_timeout_ms: int) -> psycopg.Connection[Any]:
        """A session with nothing of an earlier unit in it, as ourselves, in Prisma's search path.

        Temporary tables, cursors and prepared statements last to the end of a migration, as they would for Prisma.
        """
        connection = self._open()
        if migration != self._migration:
            connection.execute("DISCARD ALL")
            self._migration = migration
        connection.execute(self._preparation(lock_timeout_ms))
        return connection

    def close(self) -> None:
        """The session is over."""
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or is_lost(self._connection):
            self.close()
            self._connection = connect(self._url, application_name=APPLICATION_NAME)
            self._pid = self._connection.info.backend_pid
            self._connection.prepare_threshold = None  # DISCARD ALL forgets what psycopg has prepared
            self._can_notice_death = _try(self._connection, _NOTICE_DEATH)
            self._has_transaction_timeout = self._connection.info.server_version >= _TRANSACTION_TIMEOUT_SINCE
        return self._connection

    def _preparation(self, lock_timeout_ms: int) -> bytes:
        no_end = _NO_TRANSACTION_TIMEOUT if self._has_transaction_timeout else ""
        notice = _NOTICE_DEATH if self._can_notice_death else ""
        path = sql.SQL("SET search_path = {}").format(sql.Identifier(self._schema)).as_string()
        return f"{_PREPARE} {no_end} {path}; SET lock_timeout = {lock_timeout_ms}; {notice}".encode()


def apply_prelude(connection: psycopg.Connection[Any], prelude: Sequence[str], lock_timeout_ms: int) -> None:
    """The session is as its file has set it so far: role, search path and all, but for lock_timeout."""
    for setting in prelude:
        connection.execute(setting.encode())
    if prelude:
        set_lock_timeout(connection, lock_timeout_ms)


def set_lock_timeout(connection: psycopg.Connection[Any], milliseconds: int) -> None:
    """From here on to the end of the session, whatever a file set before; for use outside of transactions."""
    connection.execute(f"SET lock_timeout = {milliseconds}".encode())


def limit_transaction(connection: psycopg.Connection[Any], lock_timeout_ms: int) -> None:
    """From here on to the end of the transaction, whatever a file set before: waits for locks, and our own silence."""
    silence = f"SET LOCAL idle_in_transaction_session_timeout = '{SILENCE_SECONDS}s'"
    connection.execute(f"SET LOCAL lock_timeout = {lock_timeout_ms}; {silence}".encode())


@contextmanager
def lease(connection: psycopg.Connection[Any]) -> Generator[None]:
    """No other deployment of safepoint runs in this database; MG006 naming the one that does."""
    if not _try_lock(connection, LEASE):
        raise _held(connection, LEASE, "another deployment of safepoint", errors.NOTHING_CHANGED)
    try:
        yield
    finally:
        _unlock(connection, LEASE)


@contextmanager
def prisma_lock(connection: psycopg.Connection[Any], patience: Patience) -> Generator[None]:
    """No `prisma migrate` runs in this database; MG006 naming its session when the patience ends first."""
    while not _try_lock(connection, ADVISORY_LOCK):
        if not patience.wait_a_little():
            raise _held(connection, ADVISORY_LOCK, "`prisma migrate`", COMMITTED_STAYS)
    try:
        yield
    finally:
        _unlock(connection, ADVISORY_LOCK)


def wait_until_gone(control: psycopg.Connection[Any], pid: int, patience: Patience) -> bool:
    """Whether the server process of a lost session has ended, so that what it did stands; waits within the patience."""
    while control.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone() is not None:
        if not patience.wait_a_little():
            return False
    return True


def _try(connection: psycopg.Connection[Any], statement: str) -> bool:
    """The interval is settable only where the server's system can watch a socket's other end."""
    try:
        connection.execute(statement.encode())
    except psycopg.errors.InvalidParameterValue:
        return False
    return True


def _try_lock(connection: psycopg.Connection[Any], key: int) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s::bigint)", [key]).fetchone()
    return bool(row and row[0])


def _unlock(connection: psycopg.Connection[Any], key: int) -> None:
    if not is_lost(connection):
        connection.execute("SELECT pg_advisory_unlock(%s::bigint)", [key])


def _held(connection: psycopg.Connection[Any], key: int, who: str, changed: str) -> errors.SafepointError:
    row = connection.execute(_HOLDER, [key]).fetchone()
    holder, cure = "a session that has just ended", "run the same command again"
    if row is not None:
        pid, application, role, since = row
        at = f" since {format_instant(since)}" if since is not None else ""
        holder = f"pid {pid} ({application or role or 'unknown'}){at}"
        cure = f"wait for it; if its process is dead: `SELECT pg_terminate_backend({pid})`"
    return errors.MG006.error(
        f"found {who} running in this database: {holder}, expected to be alone",
        changed=changed,
        hints=[errors.ask("does another pipeline or a starting container deploy as well?"), errors.run(cure)],
    )
