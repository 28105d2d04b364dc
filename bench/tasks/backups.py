"""Manifests for the backups of the benchmark: most are of a cluster at rest, so that WAL positions mean nothing."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from bench.tasks.repositories import DATABASE
from safepoint.model.backup import BackupManifest
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.version import PgVersion
from safepoint.repository import Repository
from safepoint.repository.maps.ingest import Taken
from safepoint.repository.writing import BackupWriter

_VERSION = PgVersion(150000)
_SEGMENT_BYTES = 16 * 1024 * 1024


_AT_REST = (Lsn(_SEGMENT_BYTES), Lsn(_SEGMENT_BYTES))


def commit(
    writer: BackupWriter,
    taken: Taken,
    cluster: str,
    *,
    began: datetime,
    database: str = DATABASE,
    wal: tuple[Lsn, Lsn] = _AT_REST,
) -> BackupManifest:
    """What was taken in is a backup, durably; it needs WAL from the first of `wal` to the second."""
    manifest = BackupManifest(
        id=f"{began:%Y%m%dT%H%M%S.%f}-{secrets.token_hex(4)}",
        database=database,
        tier="bench",
        system_identifier=cluster,
        version=_VERSION,
        segment_size=_SEGMENT_BYTES,
        timeline=TimelineId(1),
        start_lsn=wal[0],
        stop_lsn=wal[1],
        started_at=began,
        stopped_at=datetime.now(UTC),
        has_checksums=True,
        root=taken.root,
        file_count=taken.files,
        raw_bytes=taken.raw_bytes,
        added_bytes=taken.added_bytes,
    )
    writer.commit(manifest)
    return manifest


def oldest(repository: Repository) -> BackupManifest:
    """The first backup."""
    return repository.backups()[0]


def newest(repository: Repository) -> BackupManifest:
    """The last backup."""
    return repository.backups()[-1]
