"""The repository's format: sealed blobs in packs, maps, manifests, WAL, records, keys. Knows no PostgreSQL server."""

from __future__ import annotations

from safepoint.repository.maps.assembly import KEPT_PIECES, PIECE_BYTES
from safepoint.repository.maps.comparison import Comparison
from safepoint.repository.maps.files import BackupFiles, OpenFile, PageRuns
from safepoint.repository.maps.ingest import Ingest, Taken
from safepoint.repository.maps.listing import Entry, EntryKind
from safepoint.repository.maps.parent_pages import ParentPages
from safepoint.repository.opening import create_repository, open_repository
from safepoint.repository.places import Places
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.keys import KeyCost
from safepoint.repository.writing import BackupWriter

__all__ = [
    "KEPT_PIECES",
    "PIECE_BYTES",
    "BackupFiles",
    "BackupWriter",
    "Comparison",
    "Entry",
    "EntryKind",
    "Ingest",
    "KeyCost",
    "OpenFile",
    "PageRuns",
    "ParentPages",
    "Places",
    "Repository",
    "Taken",
    "create_repository",
    "open_repository",
]
