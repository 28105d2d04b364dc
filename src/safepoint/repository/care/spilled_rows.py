"""Rows in numbers that no memory holds: kept in a file without a name, given back by the beginning of their blob ids.

Blob ids are keyed digests, so the buckets are alike. Memory is bounded by one run while rows come in, and by one
bucket while they go out. Killed here? The file had no name.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from safepoint.repository.packs.index_file import write_at

BUCKETS = 64
RUN_ROWS = 500_000
_SHIFT = np.uint64(58)
Rows = NDArray[Any]


class SpilledRows:
    """Takes rows that have a field `id` of 64 bits; gives them back bucket by bucket, in any order within one."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when left
        self._end = 0
        self._runs: list[tuple[int, NDArray[np.int64]]] = []
        self._waiting: list[Rows] = []
        self._waiting_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, rows: Rows) -> None:
        """Takes the rows; they must not change afterwards."""
        self._waiting.append(rows)
        self._waiting_rows += len(rows)
        if self._waiting_rows >= RUN_ROWS:
            self._spill()

    def buckets(self) -> Iterator[Rows]:
        """All rows, in buckets of neighbouring ids."""
        self._spill()
        for bucket in range(BUCKETS):
            yield np.concatenate([*(self._read(*run, bucket) for run in self._runs), np.empty(0, self._dtype)])

    def _spill(self) -> None:
        if not self._waiting_rows:
            return
        rows = np.concatenate(self._waiting)
        self._waiting, self._waiting_rows = [], 0
        numbers = (rows["id"] >> _SHIFT).astype(np.int64)
        data = rows[np.argsort(numbers, kind="stable")].tobytes()
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(numbers, minlength=BUCKETS))])
        write_at(self._file.fileno(), data, self._end)
        self._runs.append((self._end, ends))
        self._end += len(data)

    def _read(self, start: int, ends: NDArray[np.int64], bucket: int) -> Rows:
        width = self._dtype.itemsize
        first, last = int(ends[bucket]), int(ends[bucket + 1])
        data = os.pread(self._file.fileno(), (last - first) * width, start + first * width)
        return np.frombuffer(data, self._dtype)
