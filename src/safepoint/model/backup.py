"""What a physical backup is: the manifest that names it, and where the pieces of the repository lie that it is made of.

A backup exists when, and only when, its manifest is in the repository and its writer's lease ended with it. Shapes
follow docs/FORMAT.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.version import PgVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """Where a sealed blob lies: bytes [offset, offset + length) of a pack, `raw_length` bytes when opened.

    `id` and `pack` are 32 bytes each: the keyed digest of what the blob holds, and the pack's random name.
    """

    id: bytes
    pack: bytes
    offset: int
    length: int
    raw_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupManifest:
    """A physical backup, consistent at any WAL position ≥ `stop_lsn` on `timeline` or its descendants.

    Needs WAL [start_lsn, stop_lsn) to become consistent. Instants are the server's clock. `root` is the listing of its
    files: `file_count` of them, `raw_bytes` as restored; `added_bytes` is what this backup added to the store.
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
    root: BlobRef
    file_count: int
    raw_bytes: int
    added_bytes: int
