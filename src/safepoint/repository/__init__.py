"""The repository's format: sealed blobs in packs, maps, manifests, WAL, records, keys. Knows no PostgreSQL server.

What stands on numpy is imported when it is first named here: who stores or lists WAL alone never waits for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from safepoint.repository.opening import create_repository, open_repository
from safepoint.repository.places import Places
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.keys import KeyCost

if TYPE_CHECKING:
    from safepoint.repository.maps.assembly import KEPT_PIECES, PIECE_BYTES
    from safepoint.repository.maps.comparison import Comparison
    from safepoint.repository.maps.files import BackupFiles, OpenFile, PageRuns
    from safepoint.repository.maps.ingest import Ingest, Taken
    from safepoint.repository.maps.listing import Entry, EntryKind
    from safepoint.repository.maps.parent_pages import ParentPages
    from safepoint.repository.writing import BackupWriter

_WHERE = {
    "KEPT_PIECES": "maps.assembly",
    "PIECE_BYTES": "maps.assembly",
    "BackupFiles": "maps.files",
    "BackupWriter": "writing",
    "Comparison": "maps.comparison",
    "Entry": "maps.listing",
    "EntryKind": "maps.listing",
    "Ingest": "maps.ingest",
    "OpenFile": "maps.files",
    "PageRuns": "maps.files",
    "ParentPages": "maps.parent_pages",
    "Taken": "maps.ingest",
}

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


def __getattr__(name: str) -> Any:
    """One of those above, imported now (PEP 562)."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
