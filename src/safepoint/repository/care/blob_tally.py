"""What groups of backups need, blob by blob, and in which packs: sums over more blobs than memory holds.

A group is whatever may be told apart in a question (here: a database's backups of one tier). A blob counts once,
however many backups refer to it. Blobs are told apart by 64 bits of their keyed digest: among 40 million of them, two
are taken for one with a chance of 1 in 20,000; that costs a figure its last digits, and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from safepoint.model.backup import BlobRef
from safepoint.repository.packs.index_file import Rows
from safepoint.repository.packs.index_sort import RUN_ROWS, RowSorter
from safepoint.repository.packs.pack import BlobKind

_NEEDED = np.dtype(
    [("id", "<u8"), ("pack", "<u4"), ("length", "<u4"), ("raw", "<u4"), ("group", "<u2"), ("kind", "u1")]
)
_ROW = struct.Struct("<QIIIHB")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobSums:
    """Sums over distinct blobs, in bytes: `unique` of the data opened, `stored` of all, of which `maps` is not data.

    `alone` is the part of `stored` that nobody else needs.
    """

    blobs: int = 0
    unique: int = 0
    stored: int = 0
    maps: int = 0
    alone: int = 0

    def __add__(self, other: BlobSums) -> BlobSums:
        return BlobSums(
            blobs=self.blobs + other.blobs,
            unique=self.unique + other.unique,
            stored=self.stored + other.stored,
            maps=self.maps + other.maps,
            alone=self.alone + other.alone,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tallied:
    """The sums of all, and of each set of groups; by number of pack the bytes in it that are needed."""

    total: BlobSums
    of: Mapping[str, BlobSums]
    needed_bytes: NDArray[np.int64]


class BlobTally:
    """Takes what groups need and what packs hold; sums it up. Numbers of packs and groups are the caller's."""

    def __init__(self) -> None:
        self._needed = RowSorter(None, _NEEDED, _ids_of)
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._needed.__exit__(kind, error, trace)

    def need(self, group: int, pack: int, ref: BlobRef, kind: BlobKind) -> None:
        """The group needs the blob, which lies in this pack; in two of them, when told so twice."""
        identity = int.from_bytes(ref.id[:8], "little")
        self._buffer += _ROW.pack(identity, pack, ref.length, ref.raw_length, group, kind)
        if len(self._buffer) >= RUN_ROWS * _ROW.size:
            self._flush()

    def sums(self, sets: Mapping[str, Collection[int]], packs: int) -> Tallied:
        """Sums over all groups, over each set of groups, and over each of so many packs."""
        self._flush()
        total, of = BlobSums(), dict.fromkeys(sets, BlobSums())
        needed_bytes = np.zeros(packs, np.int64)
        for needed in self._needed.buckets():
            total += _sums_of(needed, None)
            for name, groups in sets.items():
                of[name] += _sums_of(needed, groups)
            _add_bytes(needed, needed_bytes)
        return Tallied(total=total, of=of, needed_bytes=needed_bytes)

    def _flush(self) -> None:
        if self._buffer:
            self._needed.add(np.frombuffer(bytes(self._buffer), _NEEDED))
            self._buffer.clear()


def _ids_of(rows: Rows) -> NDArray[np.uint64]:
    return rows["id"].astype(np.uint64)


def _sums_of(rows: Rows, groups: Collection[int] | None) -> BlobSums:
    """Over the distinct blobs that these groups need; None: all groups."""
    is_ours = np.ones(len(rows), np.bool_) if groups is None else np.isin(rows["group"], np.array(sorted(groups)))
    ours = rows[is_ours]
    identities, first = np.unique(ours["id"], return_index=True)
    found = ours[first]
    is_data = found["kind"] == BlobKind.DATA
    is_shared = np.isin(identities, rows["id"][~is_ours])
    return BlobSums(
        blobs=len(found),
        unique=_sum(found["raw"][is_data]),
        stored=_sum(found["length"]),
        maps=_sum(found["length"][~is_data]),
        alone=_sum(found["length"][~is_shared]),
    )


def _add_bytes(rows: Rows, needed_bytes: NDArray[np.int64]) -> None:
    """Each blob of each pack once."""
    rows = rows[np.lexsort((rows["id"], rows["pack"]))]
    is_same = (rows["pack"][1:] == rows["pack"][:-1]) & (rows["id"][1:] == rows["id"][:-1])
    rows = rows[np.concatenate([np.ones(len(rows[:1]), np.bool_), ~is_same])]
    np.add.at(needed_bytes, rows["pack"], rows["length"].astype(np.int64))


def _sum(values: NDArray[Any]) -> int:
    return int(values.sum(dtype=np.int64))
