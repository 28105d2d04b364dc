"""What the folder store asks of the file system, one call each. Raises OSError, says nothing of objects."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator, Sequence
from pathlib import Path

from safepoint.files import sync_directory

DIRECTORY_MODE = 0o750  # a reader in the owner's group suffices to restore; others see nothing
FILE_MODE = 0o640

_FOLDER_FLAGS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Irregular(Exception):
    """What lies at `place`, relative to the root, is neither a regular file nor a directory."""

    def __init__(self, place: str, found: str) -> None:
        super().__init__(f"found {found} at {place}")
        self.place = place
        self.found = found


@contextlib.contextmanager
def open_folder(root: Path, parts: Sequence[str]) -> Generator[int]:
    """A descriptor of the directory below the root, from which no link was followed to it; OSError, Irregular.

    It serves listing and as `dir_fd`.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC if not parts else _FOLDER_FLAGS)
    try:
        for number, part in enumerate(parts, 1):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC if number == len(parts) else _FOLDER_FLAGS
            parent = descriptor
            try:
                descriptor = os.open(part, flags | os.O_NOFOLLOW, dir_fd=parent)
            except OSError as error:
                _require_regular(parent, part, "/".join(parts[:number]))
                raise error from None
            os.close(parent)
        yield descriptor
    finally:
        os.close(descriptor)


def open_regular(root: Path, parts: Sequence[str]) -> int:
    """A descriptor to read the regular file below the root; OSError (IsADirectoryError too), Irregular. Never waits."""
    place = "/".join(parts)
    with open_folder(root, parts[:-1]) as folder:
        try:
            descriptor = os.open(parts[-1], _FILE_FLAGS, dir_fd=folder)
        except OSError as error:
            _require_regular(folder, parts[-1], place)
            raise error from None
        found = os.fstat(descriptor).st_mode
        if stat.S_ISREG(found):
            return descriptor
        os.close(descriptor)
        if stat.S_ISDIR(found):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), place)
        raise Irregular(place, _kind(found))


def _require_regular(folder: int, leaf: str, place: str) -> None:
    """Irregular when that is why it could not be opened."""
    with contextlib.suppress(OSError):
        found = os.stat(leaf, dir_fd=folder, follow_symlinks=False).st_mode
        if not stat.S_ISREG(found) and not stat.S_ISDIR(found):
            raise Irregular(place, _kind(found))


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "what is no file")


def identity_of(path: Path) -> tuple[int, int] | None:
    """Device and inode: whether it is still the same directory. None when it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def make_path(path: Path) -> None:
    """Makes the directory and its missing ancestors, each durable in its parent."""
    if not path.parent.exists():
        make_path(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(DIRECTORY_MODE)
        sync_directory(path.parent)


def free_bytes(path: Path) -> int:
    """What an ordinary user may still write there; 0 when that cannot be told."""
    try:
        found = os.statvfs(path)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def read_range(descriptor: int, offset: int, length: int) -> bytes:
    """At most `length` bytes; one call and no copy when the kernel gives all at once."""
    first = os.pread(descriptor, length, offset)
    if len(first) == length or not first:
        return first
    pieces = [first]
    while piece := os.pread(descriptor, length - sum(map(len, pieces)), offset + sum(map(len, pieces))):
        pieces.append(piece)
    return b"".join(pieces)
