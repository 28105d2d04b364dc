"""Files of pg_wal, read into memory that serves again and again: fresh memory costs as much as reading into it."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

from safepoint.buffers import Buffers
from safepoint.files import read_into

_BUFFER_BYTES = 64 * 1024 * 1024
"""Larger segments are read into memory of their own; what a smaller one leaves untouched takes up nothing."""


class WalBuffers:
    """As many buffers as files are looked at at once. May be used from several threads."""

    def __init__(self) -> None:
        self._buffers = Buffers(_BUFFER_BYTES)

    @contextmanager
    def content(self, descriptor: int) -> Generator[memoryview]:
        """The whole file as it is now, inside the context; the descriptor's position is not used. OSError."""
        size = os.fstat(descriptor).st_size
        if size > _BUFFER_BYTES:
            view = memoryview(bytearray(size))
            yield view[: read_into(descriptor, view, 0)]
            return
        buffer = self._buffers.take()
        try:
            with memoryview(buffer) as whole, whole[:size] as view:
                yield view[: read_into(descriptor, view, 0)]
        finally:
            self._buffers.give_back(buffer)
