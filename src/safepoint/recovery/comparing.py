"""Comparing stretches of files that stand in a directory with what a backup has there, in threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from safepoint.buffers import Buffers
from safepoint.files import read_into
from safepoint.kernel import PAGE_BYTES, crc32c
from safepoint.repository import PIECE_BYTES, Comparison

Of = TypeVar("Of")

_WORKERS = os.cpu_count() or 1
_MOST_UNDER_WAY = 2 * _WORKERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A stretch, cut where pages that are the same and such that differ meet.

    `lengths` are bytes and their CRC32C, None for what differs; `differing` are the runs (first page, pages) of that.
    """

    lengths: tuple[tuple[int, int | None], ...]
    differing: tuple[tuple[int, int], ...]


class StretchComparer(Generic[Of]):
    """A context. What is submitted comes back in order, with whatever it is of."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="safepoint-compare")
        self._buffers = Buffers(PIECE_BYTES)
        self._under_way: deque[tuple[Of, Future[Compared]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(
        self, of: Of, path: str, size: int, first: int, known: NDArray[np.uint64]
    ) -> Iterator[tuple[Of, Compared]]:
        """Pages from `first` on of a file that shall have `size` bytes; gives what is compared meanwhile. OSError."""
        stretch = min(size - first * PAGE_BYTES, len(known) * PAGE_BYTES)
        self._under_way.append((of, self._pool.submit(self._compare, path, first, stretch, known)))
        while len(self._under_way) > _MOST_UNDER_WAY or self._under_way[0][1].done():
            yield self._oldest()
            if not self._under_way:
                return

    def rest(self) -> Iterator[tuple[Of, Compared]]:
        """What is still being compared. OSError."""
        while self._under_way:
            yield self._oldest()

    def _oldest(self) -> tuple[Of, Compared]:
        of, compared = self._under_way.popleft()
        return of, compared.result()

    def _compare(self, path: str, first: int, size: int, known: NDArray[np.uint64]) -> Compared:
        buffer = self._buffers.take()
        try:
            with memoryview(buffer) as whole, whole[:size] as view:
                found = _read(path, first * PAGE_BYTES, view)
                # A page that ends too early is not the backup's, whatever its fingerprint.
                pages = len(known) if found == size else found // PAGE_BYTES
                return self._compared(view, first, known, pages)
        finally:
            self._buffers.give_back(buffer)

    def _compared(self, view: memoryview, first: int, known: NDArray[np.uint64], pages: int) -> Compared:
        """Of these the first `pages` pages were read."""
        runs = self._comparison.runs(view[: pages * PAGE_BYTES], known[:pages])
        if pages < len(known):
            runs.append((pages, len(known) - pages, False))
        lengths: list[tuple[int, int | None]] = []
        for start, count, is_same in runs:
            stretch = view[start * PAGE_BYTES : (start + count) * PAGE_BYTES]
            lengths.append((len(stretch), crc32c(stretch) if is_same else None))
        return Compared(
            lengths=tuple(lengths),
            differing=tuple((first + start, count) for start, count, is_same in runs if not is_same),
        )


@contextmanager
def opened(path: str, flags: int) -> Generator[int]:
    """A file that is there, and no link; OSError."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(path: str, offset: int, view: memoryview) -> int:
    """How many bytes were read: all, or those before the file's end."""
    with opened(path, os.O_RDONLY) as descriptor:
        return read_into(descriptor, view, offset)
