"""What a repository holds of a cluster, read for `coverage_of`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from safepoint.backup.coverage import coverage_of
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Coverage, Mark, WalPiece
from safepoint.model.lsn import TimelineId
from safepoint.repository import Repository

_READERS = 4


def fetch_coverage(
    repository: Repository,
    system_identifier: str,
    backups: Sequence[BackupManifest] | None = None,
    *,
    with_marks: bool = True,
) -> Coverage:
    """Everything that can be restored of the cluster: one listing, and one short read per piece of WAL for its mark.

    From `backups` alone where some are given, which must be the cluster's; without marks in LSNs only, no piece read.
    """
    if backups is None:
        backups = [backup for backup in repository.backups() if backup.system_identifier == system_identifier]
    pieces = repository.wal_pieces(system_identifier)
    return coverage_of(
        backups,
        pieces,
        _read_marks(repository, system_identifier, pieces) if with_marks else {},
        _read_histories(repository, system_identifier, pieces),
    )


def _read_marks(repository: Repository, cluster: str, pieces: tuple[WalPiece, ...]) -> dict[str, Mark]:
    def read(piece: WalPiece) -> Mark | None:
        return repository.read_mark(cluster, piece)

    with ThreadPoolExecutor(_READERS) as pool:
        marks = pool.map(read, pieces)
        return {piece.name: mark for piece, mark in zip(pieces, marks, strict=True) if mark is not None}


def _read_histories(repository: Repository, cluster: str, pieces: tuple[WalPiece, ...]) -> dict[TimelineId, bytes]:
    timelines = {piece.timeline for piece in pieces if piece.timeline > TimelineId(1)}
    found = {timeline: repository.read_history(cluster, timeline) for timeline in timelines}
    return {timeline: content for timeline, content in found.items() if content is not None}
