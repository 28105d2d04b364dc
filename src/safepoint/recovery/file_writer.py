"""Files written one after another, the large pieces of them past the page cache while the caller prepares the next.

Copying them into it would cost more of the processors than decoding does. Checksums are of the bytes as they are
handed over. Nothing is durable before the file system is synced.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from safepoint.files import write_all, write_past_cache
from safepoint.kernel import crc32c
from safepoint.recovery.places import FILE_MODE, PERMISSIONS
from safepoint.repository import KEPT_PIECES

_LARGE_BYTES = 1024 * 1024
_MOST_WRITING = KEPT_PIECES - 1


class FileWriter:
    """A context: when it is left well, every byte of every file is with the kernel or the disk; OSError."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="safepoint-write")
        self._writing: deque[Future[None]] = deque()
        self._descriptor = -1
        self._checksum = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        try:
            if kind is None:
                self._wait(0)
        finally:
            self._close()

    def begin(self, path: str | os.PathLike[str], mode: int = FILE_MODE) -> None:
        """The file before this one is complete; the file is there and empty. Its owner may always read and write it."""
        self.end()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, FILE_MODE)
        if mode & PERMISSIONS != FILE_MODE:
            os.fchmod(self._descriptor, mode & PERMISSIONS | FILE_MODE)
        self._checksum = 0

    def write(self, data: bytes | memoryview) -> None:
        """These are the next bytes of the file. Large ones are looked at until the third call after this returns.

        Raises what writing earlier ones raised.
        """
        if len(data) < _LARGE_BYTES:
            self._wait(0)
            self._checksum = crc32c(data, self._checksum)
            write_all(self._descriptor, data)
        else:
            self._wait(_MOST_WRITING - 1)
            self._writing.append(self._thread.submit(self._write_large, self._descriptor, data))

    def end(self) -> int:
        """The file is complete; its CRC32C."""
        self._wait(0)
        self._close()
        return self._checksum

    def _write_large(self, descriptor: int, data: bytes | memoryview) -> None:
        # Pieces come one after another: the checksum is this thread's while any of them is under way.
        self._checksum = crc32c(data, self._checksum)
        write_past_cache(descriptor, data)

    def _wait(self, most: int) -> None:
        while len(self._writing) > most:
            self._writing.popleft().result()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
