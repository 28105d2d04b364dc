"""What a physical backup is: the manifest that lists it, and the pieces of the repository it is made of.

A backup exists when, and only when, its manifest can be read from the repository. Shapes follow docs/FORMAT.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.version import PgVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """Where a sealed blob lies: bytes [offset, offset + length) of a pack, `raw_length` bytes when opened."""

    id: str
    pack: str
    offset: int
    length: int
    raw_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupFile:
    """A regular file, relative to the data directory, `size` bytes: the concatenation of its blobs."""

    path: str
    size: int
    mode: int
    blobs: tuple[BlobRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupManifest:
    """A physical backup, consistent at any WAL position ≥ `stop_lsn` on `timeline` or its descendants.

    Needs WAL [start_lsn, stop_lsn) to become consistent. Instants are the server's clock.
    """

    id: str
    database: str
    tier: str
    system_identifier: str
    version: PgVersion
    segment_size: int
    timeline: TimelineId
    start_lsn: Lsn
    stop_lsn: Lsn
    started_at: datetime
    stopped_at: datetime
    has_checksums: bool
    directories: tuple[str, ...]
    files: tuple[BackupFile, ...]

    @property
    def raw_bytes(self) -> int:
        """Bytes of all files as restored."""
        return sum(file.size for file in self.files)
