"""Writing to local files so that a crash leaves the old content or the new one, and nothing is lost once it returned.

Knows paths and bytes only; every failure is the system's own OSError, and whoever asked says what it means.
A name is durable when its directory was synced, the bytes below it when the file was: two calls, in that order
(Linux, fsync(2): "calling fsync() does not necessarily ensure that the entry in the directory ... has also reached
disk").
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

DRAFT_SUFFIX = ".new"
"""What `write_durably` appends to a name while it writes; a file of such a name is what a crash left."""

_PRIVATE = 0o600
_BLOCK_BYTES = 4096  # no file system asks for larger ones
_DIRECT = getattr(os, "O_DIRECT", 0)


def write_durably(path: Path, content: bytes, mode: int = _PRIVATE) -> None:
    """The file has this content and this mode, whole, after any crash; until then it had its old ones.

    One writer of a path at a time. A draft that a crash left is replaced, a link in its place is not followed.
    """
    draft = path.with_name(path.name + DRAFT_SUFFIX)
    draft.unlink(missing_ok=True)
    with _new_file(draft, mode) as descriptor:
        os.fchmod(descriptor, mode)
        write_synced(descriptor, content)
    draft.replace(path)
    sync_directory(path.parent)


def create_durably(path: Path, content: bytes, mode: int = _PRIVATE) -> None:
    """The file has this content and was not there before, after any crash; FileExistsError, nothing changed.

    Of two that create one path, one does. The umask takes its bits from `mode`.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}{DRAFT_SUFFIX}")
    draft.unlink(missing_ok=True)
    try:
        with _new_file(draft, mode) as descriptor:
            write_synced(descriptor, content)
        os.link(draft, path)  # fails when the name is taken, which a rename would not
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(path.parent)


def append_durably(path: Path, content: bytes) -> None:
    """The file, which exists, ends with this content; a crash meanwhile may leave the first part of it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        write_synced(descriptor, content)
    finally:
        os.close(descriptor)


def write_synced(descriptor: int, content: bytes) -> None:
    """Every byte is written where the descriptor stands, and the file is durable."""
    write_all(descriptor, content)
    os.fsync(descriptor)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Every byte is handed to the kernel."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def read_into(descriptor: int, view: memoryview, offset: int) -> int:
    """How many bytes of the file, from `offset` on, are in the view: as many as it holds, or those before the end."""
    found = 0
    while found < len(view) and (count := os.preadv(descriptor, [view[found:]], offset + found)):
        found += count
    return found


def write_past_cache(descriptor: int, content: bytes | memoryview) -> None:
    """Every byte is handed to the disk past the page cache, as far as that is possible, otherwise to the kernel.

    It is for a new file and page-aligned content. No more durable than `write_all`, but it costs a hundredth of the
    processor's time, and the cache keeps what servers need (Linux, open(2): O_DIRECT).
    """
    view = memoryview(content)
    whole = len(view) - len(view) % _BLOCK_BYTES
    write_all(descriptor, view[_write_direct(descriptor, view[:whole]) :])


def _write_direct(descriptor: int, blocks: memoryview) -> int:
    """How many bytes were written: all, or those before the file system refused this way of writing."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    written = 0
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | _DIRECT)
        while written < len(blocks):
            written += os.write(descriptor, blocks[written:])
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
    return written


def sync_directory(path: Path) -> None:
    """Names made in the directory before survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _new_file(path: Path, mode: int) -> Generator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
