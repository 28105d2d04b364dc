"""Where each file and directory of a backup stands in a copy, and the making of directories.

A tablespace that was given a place is a link there; any other is a plain directory in `pg_tblspc`, which PostgreSQL
runs on. No path goes through a link but through those made here.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from safepoint.recovery.outside import OutsidePlaces
from safepoint.repository import Entry

TABLESPACES = "pg_tblspc"

FILE_MODE = 0o600
"""What the owner may always do."""

PERMISSIONS = 0o777

_PRIVATE = 0o700


class Places:
    """The places of one copy. `is_listed` tells whether the backup has a path."""

    def __init__(self, directory: Path, tablespaces: Mapping[int, Path], is_listed: Callable[[str], bool]) -> None:
        self.directory = directory
        self.tablespaces = {str(oid): path for oid, path in tablespaces.items()}
        self._outside = OutsidePlaces(is_listed)
        self._top = str(directory)
        self._made: set[str] = set()

    def name_of(self, listed: str) -> str:
        """The path below the directory of what the backup lists under this one."""
        return self._outside.of(listed)

    def path_of(self, name: str) -> str:
        """Where that is, links resolved; of a tablespace's top, its link."""
        top, _, below = name.partition("/")
        if top == TABLESPACES:
            oid, _, rest = below.partition("/")
            if rest and oid in self.tablespaces:
                return f"{self.tablespaces[oid]}/{rest}"
        return f"{self._top}/{name}"

    def link_tablespaces(self) -> None:
        """Each tablespace with a place of its own is a link there, whatever was there before."""
        for oid, path in self.tablespaces.items():
            self.make_directory(TABLESPACES)
            link = f"{self._top}/{TABLESPACES}/{oid}"
            if not is_link_to(link, path):
                remove(link)
                os.symlink(path, link)  # noqa: PTH211 - all paths here are strings

    def make_listed(self, entry: Entry) -> None:
        """The directory stands there, with its mode."""
        name = self.name_of(entry.path)
        top, _, below = name.partition("/")
        if not (top == TABLESPACES and below in self.tablespaces):
            self.make_directory(name, entry.mode)

    def make_directory(self, name: str, mode: int = _PRIVATE) -> None:
        """The directory and those above it stand there, none of them a link; what was in their place is gone."""
        path = self.path_of(name)
        if path not in self._made:
            self.make_parent(name)
            _make(path)
            self._made.add(path)
        set_mode(path, mode & PERMISSIONS | _PRIVATE, os.lstat(path))

    def make_parent(self, name: str) -> None:
        """The directories above a path stand there."""
        parent = name.rpartition("/")[0]
        top, _, below = parent.partition("/")
        if not parent or (top == TABLESPACES and below in self.tablespaces):
            return
        if self.path_of(parent) not in self._made:
            self.make_directory(parent)


def is_link_to(path: str, target: Path) -> bool:
    """Whether there is a link there that says this very target."""
    try:
        return os.readlink(path) == str(target)  # noqa: PTH115 - one string against another
    except OSError:
        return False


def remove(path: str) -> None:
    """Nothing is there; a link is removed, not what it leads to; OSError."""
    try:
        os.unlink(path)  # noqa: PTH108 - of many thousands
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        shutil.rmtree(path)


def set_mode(path: str, mode: int, status: os.stat_result) -> None:
    """The file or directory, which `status` is of, has these permissions."""
    if stat.S_IMODE(status.st_mode) != mode:
        os.chmod(path, mode)  # noqa: PTH101 - of many thousands


def _make(path: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(path, _PRIVATE)  # noqa: PTH102 - of many thousands
        return
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        remove(path)
        os.mkdir(path, _PRIVATE)  # noqa: PTH102
