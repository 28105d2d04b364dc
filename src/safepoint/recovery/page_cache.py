"""What the kernel keeps of a directory's files, let go of before random writes to them.

Files that were read from their beginning to their end, as proofs read them, stand in the page cache in pieces of up
to 2 MiB. ext4 looks at every block of such a piece for each page that is written to it (seen on Linux 6.18), which
took replay more time than replay itself. Read anew, page by page, they are kept in small pieces.
Source: posix_fadvise(2); Linux, fs/ext4/inode.c, ext4_block_write_begin.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LARGE_BYTES = 32 * 1024


def forget_files(directory: Path) -> None:
    """Nothing of the large files below is kept in memory, but what is not on the disk yet. Links are followed.

    It is about speed alone: where the system cannot do it, or a file cannot be opened, nothing happens.
    """
    advise = getattr(os, "posix_fadvise", None)
    if advise is None:
        return
    for path in _large_files(directory):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                advise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def _large_files(directory: Path) -> Iterator[str]:
    folders = [os.fspath(directory)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and entry.stat().st_size >= _LARGE_BYTES:
                    yield entry.path
