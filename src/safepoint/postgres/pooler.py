"""What stands between us and the server: nothing, a session pooler, or a transaction pooler.

Facts, no guesses: a server tells a new client its process id; when `pg_backend_pid()` says another number, something
stands between. That something pools transactions when a client is served by another process than before, or one
client's process serves another client before the first has left. Session locks, SET, CONCURRENTLY and replication
break there, and what we SET would leak to others. Nothing is set and nothing is locked while finding out.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Generator
from contextlib import contextmanager
from enum import Enum

from psycopg import pq
from psycopg.pq.abc import PGconn, PGresult

from safepoint import errors
from safepoint.postgres.raw_connection import open_raw
from safepoint.postgres.url import DatabaseUrl

_ROUNDS = 3
_PATIENCE_SECONDS = 3.0
_ASK = b"SELECT pg_backend_pid()"


class Pooling(Enum):
    """What a connection goes through. UNKNOWN: something that was too busy to be told apart."""

    DIRECT = "direct"
    SESSION = "session"
    TRANSACTION = "transaction"
    UNKNOWN = "unknown"


class _Shared(Exception):
    """A server process serves more than one client."""


def detect_pooling(url: DatabaseUrl, *, patience: float = _PATIENCE_SECONDS) -> Pooling:
    """What lies behind the URL, found out with at most two connections; waits `patience` seconds for an answer.

    Raises PG004 or PG007 when it cannot be reached at all.
    """
    with _opened(url) as first:
        served_by = _ask(first, _ASK, patience)
        if served_by == first.backend_pid:
            return Pooling.DIRECT
        if served_by is None:
            return Pooling.UNKNOWN
        try:
            return _probe(url, first, served_by, patience)
        except _Shared:
            return Pooling.TRANSACTION


def require_direct(url: DatabaseUrl) -> None:
    """The URL leads to a session of our own; PG005 when a transaction pooler, or what may be one, stands between."""
    found = detect_pooling(url)
    if found in {Pooling.DIRECT, Pooling.SESSION}:
        return
    what = "a transaction pooler" if found is Pooling.TRANSACTION else "a pooler that may pool by transaction"
    raise errors.PG005.error(
        f"found {what} at {url.host or 'the default host'} port {url.port or '5432'}, expected a direct connection",
        hints=[
            errors.ask("is this the URL of PgBouncer, of RDS Proxy, or a provider's pooled endpoint?"),
            errors.run("give the server's own URL: Prisma calls it `directUrl`, usually in DIRECT_URL"),
        ],
    )


def _probe(url: DatabaseUrl, first: PGconn, served_by: int, patience: float) -> Pooling:
    with _opened(url) as second:
        # A pool that hands two servers out in turn shows itself in the second round only.
        for _ in range(_ROUNDS):
            holder = _ask(second, b"BEGIN; " + _ASK, patience)
            if holder == served_by:
                raise _Shared
            _require_same(first, served_by, patience)
            if holder is None:
                # No second server process: a full pool, of sessions or of transactions.
                return Pooling.UNKNOWN
            _ask(second, b"ROLLBACK; " + _ASK, patience)
    return Pooling.SESSION


def _require_same(connection: PGconn, served_by: int, patience: float) -> None:
    if _ask(connection, _ASK, patience) != served_by:
        raise _Shared


@contextmanager
def _opened(url: DatabaseUrl) -> Generator[PGconn]:
    connection = open_raw(url, application_name="safepoint probe")
    try:
        yield connection
    finally:
        connection.finish()


def _ask(connection: PGconn, query: bytes, patience: float) -> int | None:
    """The number in the last row that the query answers; None when no answer comes in time.

    An error is a finding: statement poolers refuse BEGIN.
    """
    connection.send_query(query)
    deadline = time.monotonic() + patience
    answer: int | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(connection.socket, selectors.EVENT_READ)
        while True:
            while connection.is_busy():
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                connection.consume_input()
            result = connection.get_result()
            if result is None:
                return answer
            answer = _number(result) or answer


def _number(result: PGresult) -> int | None:
    if result.status == pq.ExecStatus.FATAL_ERROR:
        raise _Shared
    value = result.get_value(0, 0) if result.ntuples else None
    return None if value is None else int(value)
