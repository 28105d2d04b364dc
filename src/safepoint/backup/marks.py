"""Marks: what the server's clock says, and how far its WAL is flushed, asked for over an ordinary connection.

Asking never takes long: a server that hangs must not keep what it sent before from being shipped.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from safepoint import errors
from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn
from safepoint.postgres.raw_connection import open_raw
from safepoint.postgres.replication import ReplicationSession
from safepoint.postgres.url import DatabaseUrl

ANSWER_SECONDS = 2.0
PAUSE_SECONDS = 20.0
"""How long a server that gave no answer in time is not asked again: connecting to one that hangs takes seconds."""

_STEP_SECONDS = 1.0
"""Clocks are slewed and drift; what goes back by more was set."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# The clock first: a commit acknowledged between the two lies before the position and is no loss.
_MARK = """
SELECT (extract(epoch FROM clock.reading) * 1000000)::bigint,
       CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_flush_lsn()::text END
FROM (SELECT clock_timestamp() AS reading OFFSET 0) AS clock
"""


class MarkSource:
    """Fetches marks; keeps one connection open and opens another when that was lost. `newest` is the last it got."""

    def __init__(self, url: DatabaseUrl) -> None:
        self._url = url
        self._session: ReplicationSession | None = None
        self._next = 0.0
        self._asked = (0.0, 0.0)
        self.newest: Mark | None = None

    def fetch(self) -> Mark | None:
        """A mark of this moment; None when the server does not answer just now, or is a standby."""
        began = time.monotonic()
        if began < self._next:
            return None
        try:
            if self._session is None:
                self._session = ReplicationSession(open_raw(self._url, connect_timeout=f"{ANSWER_SECONDS:.0f}"))
            ((clock, lsn),) = self._session.rows(_MARK, seconds=ANSWER_SECONDS)
        except errors.SafepointError:
            self.close()
            if time.monotonic() - began >= ANSWER_SECONDS:
                self._next = time.monotonic() + PAUSE_SECONDS
            return None
        if clock is None or lsn is None:
            return None
        found = Mark(lsn=Lsn.parse(lsn), clock=_EPOCH + timedelta(microseconds=int(clock)))
        asked, self._asked = self._asked, (began, time.monotonic())
        self.newest = found if self.newest is None else with_step(self.newest, asked, found, self._asked)
        return self.newest

    def close(self) -> None:
        """The connection is closed."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


def with_step(before: Mark, asked: tuple[float, float], found: Mark, asked_again: tuple[float, float]) -> Mark:
    """The mark found, and what the clock had said at most if it was set back since the mark before.

    Both were asked for between two readings of a clock that nobody sets, in seconds.
    """
    least, most = asked_again[0] - asked[1], asked_again[1] - asked[0]
    if found.clock >= before.clock + timedelta(seconds=least - _STEP_SECONDS):
        return found
    return replace(found, before_step=before.clock + timedelta(seconds=most))
