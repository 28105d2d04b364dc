"""Who stands in the way: sessions that block ours, and transactions that a concurrent build would wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.rows import class_row

from safepoint.model.measures import format_duration

SAMPLE_SECONDS = 0.2
_QUERY_LENGTH = 80

_COLUMNS = """
    coalesce(a.pid, b.pid) AS pid, a.usename AS role, a.application_name AS application, a.state,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds, a.query
"""
_BLOCKING = f"""
SELECT DISTINCT {_COLUMNS}
FROM unnest(pg_blocking_pids(%s)) b(pid) LEFT JOIN pg_stat_activity a ON a.pid = b.pid
"""  # noqa: S608 - columns of our own
_OLD = f"""
SELECT {_COLUMNS} FROM pg_stat_activity a, LATERAL (SELECT a.pid) b(pid)
WHERE a.datname = current_database() AND a.pid <> ALL (%s) AND a.backend_type = 'client backend'
AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL OR a.state LIKE 'idle in transaction%%')
AND a.xact_start < clock_timestamp() - %s::interval
ORDER BY a.xact_start
"""  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """A session in the way. Fields are None where this role may not see them; pid 0 is a prepared transaction."""

    pid: int
    role: str | None
    application: str | None
    state: str | None
    seconds: float | None
    query: str | None

    def __str__(self) -> str:
        if not self.pid:
            return "a prepared transaction (see pg_prepared_xacts)"
        age = f" for {format_duration(timedelta(seconds=max(0.0, self.seconds)))}" if self.seconds is not None else ""
        words = " ".join((self.query or "a query this role may not see").split())
        shown = words if len(words) <= _QUERY_LENGTH else words[: _QUERY_LENGTH - 1] + "…"
        return f"pid {self.pid} ({self.application or self.role or 'unknown'}, {self.state or 'active'}{age}): {shown}"


def fetch_blockers(connection: psycopg.Connection[Any], pid: int) -> tuple[Blocker, ...]:
    """The sessions that `pid` waits for now."""
    with connection.cursor(row_factory=class_row(Blocker)) as cursor:
        return tuple(cursor.execute(_BLOCKING, [pid]).fetchall())


def fetch_old_transactions(
    connection: psycopg.Connection[Any], *, older_than: timedelta, except_pids: Sequence[int]
) -> tuple[Blocker, ...]:
    """Transactions of this database that began longer ago, oldest first; those this role may not see are not among."""
    with connection.cursor(row_factory=class_row(Blocker)) as cursor:
        return tuple(cursor.execute(_OLD, [list(except_pids), older_than]).fetchall())


class Watch:
    """While it is entered, samples from a second connection who blocks `watched`; knows the last ones after.

    `waited_seconds` is how long `watched` was seen blocked, all waits together, to within a sample each.

    With `limit`, cancels the statement of `watched` once it has been blocked for so long without a break.
    """

    def __init__(
        self,
        control: psycopg.Connection[Any],
        watched: psycopg.Connection[Any],
        *,
        limit: timedelta | None = None,
        every: float = SAMPLE_SECONDS,
    ) -> None:
        self.blockers: tuple[Blocker, ...] = ()
        self.waited_seconds = 0.0
        self.has_cancelled = False
        self._control = control
        self._watched = watched
        self._pid = watched.info.backend_pid
        self._limit = limit
        self._every = min(every, SAMPLE_SECONDS)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="safepoint-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        """Ends quietly when the control connection does: whoever uses it next will say so."""
        blocked_since: float | None = None
        sampled = time.monotonic()
        while not self._over.wait(self._every):
            try:
                found = fetch_blockers(self._control, self._pid)
            except psycopg.Error:
                return
            before, sampled = sampled, time.monotonic()
            if not found:
                blocked_since = None
                continue
            self.waited_seconds += sampled - before
            self.blockers = found
            blocked_since = blocked_since or time.monotonic()
            if self._limit is not None and time.monotonic() - blocked_since >= self._limit.total_seconds():
                self.has_cancelled = True
                with suppress(psycopg.Error):
                    self._watched.cancel_safe()
                return
