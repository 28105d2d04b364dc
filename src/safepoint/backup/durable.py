"""How far a cluster's WAL is in the repository: what a restore point, a backup's end and a safety gate wait for."""

from __future__ import annotations

from safepoint.backup.coverage import contiguous_end, spans_of
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.repository import Repository


def durable_up_to(repository: Repository, cluster: str, timeline: TimelineId, lsn: Lsn) -> Lsn:
    """The repository holds WAL [lsn, result) of the timeline without a hole; `lsn` itself when not even its byte.

    From the listing alone, which the store answers only for what is durable.
    """
    return contiguous_end(spans_of(repository.wal_pieces(cluster)), timeline, lsn)
