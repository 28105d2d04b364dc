"""What a physical backup is: the manifest that names it, and where the pieces of the repository lie that it is made of.

A backup exists when, and only when, its manifest is in the repository and its writer's lease ended with it. Shapes
follow docs/FORMAT.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

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


class BackupSource(Enum):
    """Where a backup's files were read: in the data directory, or as the server sent them."""

    FILES = "files"
    STREAM = "stream"


class Detection(Enum):
    """How a backup found what had changed since its parent."""

    READ = "read and compared"
    SUMMARIES = "WAL summaries"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tablespace:
    """A tablespace of the cluster; its files are listed below `pg_tblspc/<oid>`, where `location` was linked."""

    oid: int
    name: str
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedPage:
    """A page whose checksum does not hold and that WAL does not mend; `block` counts through the fork's segments."""

    path: str
    block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """A database and what its indexes depend on; the versions are those that its collation and extensions stated."""

    name: str
    encoding: str
    locale_provider: str
    collation: str
    collation_version: str | None
    extensions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """What a cluster was when it was backed up, for whoever must rebuild its surroundings; passwords are in none.

    `settings` are those not at their defaults; `strategy` is the text of the strategy file, empty where there is none.
    """

    settings: tuple[tuple[str, str], ...] = ()
    roles: tuple[str, ...] = ()
    databases: tuple[DatabaseFacts, ...] = ()
    strategy: str = ""


NO_FACTS = ClusterFacts()


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupManifest:
    """A physical backup, consistent at any WAL position ≥ `stop_lsn` on `timeline` or its descendants.

    Needs WAL [start_lsn, stop_lsn) to become consistent. Instants are the server's clock. `root` is the listing of its
    files: `file_count` of them, `raw_bytes` as restored; `added_bytes` is what this backup added to the store.

    A transaction id ≥ `next_xid`, epoch included, was not in use at `stop_lsn`; 0 when that is unknown.
    `detection_reason` says why it was the slower way. `share` is which share of what was skipped was read again all the
    same: the parent's plus one, 0 where nothing was skipped. `outside` are configuration files from elsewhere: where
    they were, and their path in the listing.
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
    source: BackupSource = BackupSource.STREAM
    is_from_standby: bool = False
    next_xid: int = 0
    detection: Detection = Detection.READ
    detection_reason: str = ""
    share: int = 0
    tablespaces: tuple[Tablespace, ...] = ()
    outside: tuple[tuple[str, str], ...] = ()
    damaged_pages: tuple[DamagedPage, ...] = ()
    facts: ClusterFacts = NO_FACTS
