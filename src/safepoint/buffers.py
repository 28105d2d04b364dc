"""Large buffers that serve again and again: their memory is touched once, and aligned to pages for direct writes."""

from __future__ import annotations

import mmap
import threading
from contextlib import suppress

_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class Buffers:
    """Buffers of one size, as many as are in use at once. Any number of threads may take and give back."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free: list[mmap.mmap] = []
        self._lock = threading.Lock()

    def take(self) -> mmap.mmap:
        """A buffer that nobody else has, standing at its start; what is in it is left over from earlier use."""
        with self._lock:
            buffer = self._free.pop() if self._free else _made(self._size)
        buffer.seek(0)
        return buffer

    def give_back(self, buffer: mmap.mmap) -> None:
        """It may be taken again at once, so nobody looks into it any more. One that is not given back is no loss."""
        with self._lock:
            self._free.append(buffer)


def _made(size: int) -> mmap.mmap:
    """In huge pages where Linux has them to give: fewer faults, and fewer misses for what goes through all of it."""
    made = mmap.mmap(-1, size, flags=_FLAGS)
    if (huge := getattr(mmap, "MADV_HUGEPAGE", None)) is not None:
        with suppress(OSError):  # a kernel made without them
            made.madvise(huge)
    return made
