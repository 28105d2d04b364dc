"""Taking away from a directory what a backup does not have, before the rest is compared with it.

Links are removed, never followed: what they lead to is not the copy's. The control file goes first, durably, so that
no server starts on what is left.
"""

from __future__ import annotations

import os
from contextlib import suppress

from safepoint.files import sync_directory
from safepoint.recovery.listed import CONTROL_FILE, is_written
from safepoint.recovery.marker import MARKER
from safepoint.recovery.places import TABLESPACES, Places, is_link_to, remove
from safepoint.repository import BackupFiles, EntryKind


def remove_surplus(files: BackupFiles, places: Places) -> None:
    """Nothing is left that the backup does not have as a file or as a directory, but the marker; no control file.

    OSError; RP004, RP005. Holds every path of the backup in memory.
    """
    _remove_control_file(places)
    kept = _Kept(files, places)
    kept.clean("", str(places.directory))
    for oid, path in places.tablespaces.items():
        kept.clean(f"{TABLESPACES}/{oid}", str(path))


def _remove_control_file(places: Places) -> None:
    folder = (places.directory / CONTROL_FILE).parent
    if folder.is_dir() and not folder.is_symlink():
        with suppress(FileNotFoundError):
            (places.directory / CONTROL_FILE).unlink()
        sync_directory(folder)


class _Kept:
    """The paths of a copy that a backup has."""

    def __init__(self, files: BackupFiles, places: Places) -> None:
        self._places = places
        self._files = {MARKER}
        self._directories: set[str] = set()
        for entry in files.entries():
            name = places.name_of(entry.path)
            if entry.kind is EntryKind.DIRECTORY:
                self._directories.add(name)
            elif is_written(entry.path):
                self._files.add(name)
            self._add_parents(name)

    def _add_parents(self, name: str) -> None:
        parent = name.rpartition("/")[0]
        while parent and parent not in self._directories:
            self._directories.add(parent)
            parent = parent.rpartition("/")[0]

    def clean(self, name: str, path: str) -> None:
        """The directory that the copy calls `name` holds nothing else."""
        with os.scandir(path) as found:
            entries = list(found)
        for entry in entries:
            below = f"{name}/{entry.name}" if name else entry.name
            if self._is_tablespace_in_place(below, entry.path):
                continue
            if entry.is_dir(follow_symlinks=False) and below in self._directories:
                self.clean(below, entry.path)
            elif not (entry.is_file(follow_symlinks=False) and below in self._files):
                remove(entry.path)

    def _is_tablespace_in_place(self, name: str, path: str) -> bool:
        top, _, oid = name.partition("/")
        if top != TABLESPACES or oid not in self._places.tablespaces:
            return False
        return is_link_to(path, self._places.tablespaces[oid])
