"""What the folder store asks of the file system, one call each. Raises OSError, says nothing of objects."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

DIRECTORY_MODE = 0o750  # a reader in the owner's group suffices to restore; others see nothing
FILE_MODE = 0o640


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


def write_all(descriptor: int, data: bytes) -> None:
    """Every byte is handed to the kernel."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def read_range(descriptor: int, offset: int, length: int) -> bytes:
    """At most `length` bytes; one call and no copy when the kernel gives all at once."""
    first = os.pread(descriptor, length, offset)
    if len(first) == length or not first:
        return first
    pieces = [first]
    while piece := os.pread(descriptor, length - sum(map(len, pieces)), offset + sum(map(len, pieces))):
        pieces.append(piece)
    return b"".join(pieces)


def sync_directory(path: Path) -> None:
    """Names made in the directory before survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
