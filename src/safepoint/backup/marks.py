"""Marks: what the server's clock says, and how far its WAL is flushed, asked for over an ordinary connection."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
from psycopg.rows import TupleRow

from safepoint import errors
from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl

# The clock first: a commit acknowledged between the two lies before the position and is no loss.
_MARK = """
SELECT clock.reading, CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_flush_lsn()::text END
FROM (SELECT clock_timestamp() AS reading OFFSET 0) AS clock
"""


class MarkSource:
    """Fetches marks; keeps one connection open and opens another when that was lost. `newest` is the last it got."""

    def __init__(self, url: DatabaseUrl) -> None:
        self._url = url
        self._connection: psycopg.Connection[TupleRow] | None = None
        self.newest: Mark | None = None

    def fetch(self) -> Mark | None:
        """A mark of this moment; None when the server cannot be asked just now, or is a standby."""
        try:
            if self._connection is None:
                self._connection = connect(self._url)
            row = self._connection.execute(_MARK).fetchone()
        except (psycopg.OperationalError, errors.SafepointError):
            self.close()
            return None
        mark = _mark_of(row)
        self.newest = mark or self.newest
        return mark

    def close(self) -> None:
        """The connection is closed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _mark_of(row: TupleRow | None) -> Mark | None:
    if row is None or row[1] is None:
        return None
    clock: datetime = row[0]
    return Mark(lsn=Lsn.parse(row[1]), clock=clock.astimezone(UTC))
