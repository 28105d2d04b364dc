"""One pass over what a backup lists: what is written now, what waits, and what is never written."""

from __future__ import annotations

from collections.abc import Iterator

from safepoint.recovery.backup_manifest import BACKUP_MANIFEST
from safepoint.recovery.marker import MARKER
from safepoint.repository import BackupFiles, Entry, EntryKind

CONTROL_FILE = "global/pg_control"

_NEVER_WRITTEN = frozenset({BACKUP_MANIFEST, MARKER, "tablespace_map"})
"""A manifest is made here; a marker would be another restore's; a map has PostgreSQL link the places of production."""


def is_written(path: str) -> bool:
    """Whether what the backup lists under this path is written to a copy at all."""
    return path not in _NEVER_WRITTEN


class Listed:
    """The files and directories to be written now, in the order of the listing; iterated once.

    Afterwards `control` is the control file, which comes last, and `bytes` how many all files have by the listing.
    """

    def __init__(self, files: BackupFiles) -> None:
        self._files = files
        self.control: Entry | None = None
        self.bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        for entry in self._files.entries():
            self.bytes += entry.size
            if entry.path == CONTROL_FILE and entry.kind is EntryKind.FILE:
                self.control = entry
            elif is_written(entry.path):
                yield entry
