"""What a repository holds of a cluster, read for `coverage_of`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from safepoint import errors
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
    A piece whose facts do not open counts as missing: one damaged object must not hide what others can restore.
    """
    if backups is None:
        backups = [backup for backup in repository.backups() if backup.system_identifier == system_identifier]
    pieces = repository.wal_pieces(system_identifier)
    marks, lost = _read_marks(repository, pieces) if with_marks else ({}, ())
    return coverage_of(
        backups,
        [piece for piece in pieces if piece not in lost],
        marks,
        _read_histories(repository, system_identifier, pieces),
        lost=lost,
    )


def _read_marks(repository: Repository, pieces: tuple[WalPiece, ...]) -> tuple[dict[str, Mark], frozenset[WalPiece]]:
    """The marks by the names of the pieces that carry them, and the pieces that do not open."""

    def read(piece: WalPiece) -> Mark | errors.Damaged | None:
        try:
            return repository.read_mark(piece)
        except errors.Damaged as error:
            return error

    with ThreadPoolExecutor(_READERS) as pool:
        found = list(zip(pieces, pool.map(read, pieces), strict=True))
    marks = {piece.name: mark for piece, mark in found if isinstance(mark, Mark)}
    return marks, frozenset(piece for piece, mark in found if isinstance(mark, errors.Damaged))


def _read_histories(repository: Repository, cluster: str, pieces: tuple[WalPiece, ...]) -> dict[TimelineId, bytes]:
    timelines = {piece.timeline for piece in pieces if piece.timeline > TimelineId(1)}
    found: dict[TimelineId, bytes] = {}
    for timeline in timelines:
        with suppress(errors.Damaged):  # without it, what is missing shows as a gap
            content = repository.read_history(cluster, timeline)
            if content is not None:
                found[timeline] = content
    return found
