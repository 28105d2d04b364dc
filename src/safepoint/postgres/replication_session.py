"""A replication session for as long as a context lasts."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager

from safepoint.postgres.connect import replication_connection
from safepoint.postgres.replication import ReplicationSession
from safepoint.postgres.url import DatabaseUrl


@contextmanager
def replication_session(url: DatabaseUrl) -> Generator[ReplicationSession]:
    """A session with the server, closed after the context. PG004 when there is none to be had, PG007."""
    with closing(ReplicationSession(replication_connection(url))) as session:
        yield session
