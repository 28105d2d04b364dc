"""Files written one after another, large ones by a thread of its own while the caller prepares what comes next.

Large ones go past the page cache: copying them into it would cost more of the processors than decoding does. Nothing
is durable before the file system is synced.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from safepoint.buffers import Buffers
from safepoint.files import write_all, write_past_cache

FILE_MODE = 0o600

_BUFFER_BYTES = 4 * 1024 * 1024
_LARGE_BYTES = 1024 * 1024
_MOST_WAITING = 3


class FileWriter:
    """A context: when it is left well, every byte of every file is with the kernel or the disk; OSError."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="safepoint-write")
        self._waiting: deque[Future[None]] = deque()
        self._buffers = Buffers(_BUFFER_BYTES)
        self._buffer = self._buffers.take()
        self._filled = 0
        self._descriptor = -1
        self._is_large = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._end_file()
                self._wait(0)
        finally:
            self._thread.shutdown(wait=True)
            if self._descriptor >= 0:
                os.close(self._descriptor)

    def begin(self, path: Path) -> None:
        """The file before this one is complete; the file is there and empty."""
        self._end_file()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)

    def write(self, data: bytes | memoryview) -> None:
        """The next bytes of the file. Raises what writing earlier ones raised."""
        rest = memoryview(data)
        while rest:
            count = min(_BUFFER_BYTES - self._filled, len(rest))
            self._buffer[self._filled : self._filled + count] = rest[:count]
            self._filled += count
            rest = rest[count:]
            if self._filled == _BUFFER_BYTES:
                self._hand_over(is_last=False)

    def _end_file(self) -> None:
        if self._descriptor < 0:
            return
        if self._is_large or self._filled >= _LARGE_BYTES:
            self._hand_over(is_last=True)
            self._descriptor, self._is_large = -1, False
            return
        write_all(self._descriptor, memoryview(self._buffer)[: self._filled])
        descriptor, self._descriptor, self._filled = self._descriptor, -1, 0
        os.close(descriptor)

    def _hand_over(self, *, is_last: bool) -> None:
        self._wait(_MOST_WAITING - 1)
        self._waiting.append(self._thread.submit(self._write, self._descriptor, self._buffer, self._filled, is_last))
        self._buffer, self._filled, self._is_large = self._buffers.take(), 0, True

    def _wait(self, most: int) -> None:
        while len(self._waiting) > most:
            self._waiting.popleft().result()

    def _write(self, descriptor: int, buffer: mmap.mmap, count: int, is_last: bool) -> None:
        try:
            write_past_cache(descriptor, memoryview(buffer)[:count])
        finally:
            if is_last:
                os.close(descriptor)
        self._buffers.give_back(buffer)
