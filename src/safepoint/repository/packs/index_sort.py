"""Sorting more rows than memory holds: sorted runs in a file without a name, merged bucket by bucket.

A bucket is what has one first byte in its key: keys are parts of keyed digests, so the buckets are alike. Memory is
bounded by one run while rows come in, and by one bucket (a 256th of all rows) while they go out. Killed here? The file
had no name.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from safepoint.repository.packs.index_file import BUCKETS, ROW, Rows, prefixes_of, write_at
from safepoint.repository.packs.pack import PackContents

RUN_ROWS = 500_000
_BUCKET_SHIFT = np.uint64(56)


def rows_of(contents: PackContents, number: int) -> Rows:
    """The rows of one pack, which has this number in the file."""
    entries = contents.entries
    rows = np.empty(len(entries), ROW)
    for field in ("id", "offset", "length", "raw_length"):
        rows[field] = entries[field]
    rows["pack"] = number
    return rows


def sort_rows(rows: Rows) -> Rows:
    """Sorted by prefix; equal ones in any order."""
    return rows[np.argsort(prefixes_of(rows))]


class RowSorter:
    """Takes rows in any order, gives them back one bucket at a time, those of each run sorted.

    By default rows of the index; of others `key_of` says by which 64 bits they are sorted, evenly spread.
    """

    def __init__(
        self,
        directory: Path | None,
        dtype: np.dtype[Any] = ROW,
        key_of: Callable[[Rows], NDArray[np.uint64]] = prefixes_of,
    ) -> None:
        """Spills into this directory, or into the system's for temporary files; OSError."""
        self._dtype = dtype
        self._key_of = key_of
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed when left
        self._end = 0
        self._runs: list[tuple[int, NDArray[np.int64]]] = []
        self._waiting: list[Rows] = []
        self._waiting_rows = 0
        self.row_count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, rows: Rows) -> None:
        """Takes the rows; OSError when they cannot be spilled."""
        self._waiting.append(rows)
        self._waiting_rows += len(rows)
        self.row_count += len(rows)
        if self._waiting_rows >= RUN_ROWS:
            self.spill()

    def spill(self) -> None:
        """Everything taken so far is in the file; buckets can be read."""
        if not self._waiting_rows:
            return
        rows = np.concatenate(self._waiting)
        rows = rows[np.argsort(self._key_of(rows))]
        self._waiting, self._waiting_rows = [], 0
        firsts = (np.arange(BUCKETS, dtype=np.uint64) << _BUCKET_SHIFT).astype(np.uint64)
        bounds = np.append(np.searchsorted(self._key_of(rows), firsts), len(rows))
        write_at(self._file.fileno(), rows.tobytes(), self._end)
        self._runs.append((self._end, bounds * self._dtype.itemsize))
        self._end += rows.nbytes

    def buckets(self) -> Iterator[Rows]:
        """All rows, bucket by bucket, those of a bucket in any order."""
        self.spill()
        for bucket in range(BUCKETS):
            yield np.concatenate([np.empty(0, self._dtype), *self.bucket(bucket)])

    def bucket(self, bucket: int) -> Sequence[Rows]:
        """What every run has of the bucket."""
        return [
            np.frombuffer(os.pread(self._file.fileno(), int(bounds[bucket + 1] - bounds[bucket]), at), self._dtype)
            for start, bounds in self._runs
            for at in [start + int(bounds[bucket])]
        ]
