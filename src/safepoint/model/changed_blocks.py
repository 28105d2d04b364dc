"""Which blocks of which relations changed in a range of WAL, as WAL summaries tell it: main forks only.

A summary says of a relation which blocks WAL spoke of, and its *limit*: the shortest it was made, 0 where it was
created or dropped. What lies at or beyond the limit may have changed without being named. Limits are the smallest of
the whole range. Memory grows with the changed blocks, twelve bytes each at most.

Source: PostgreSQL 17 and later, src/backend/postmaster/walsummarizer.c, src/common/blkreftable.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Blocks = NDArray[np.uint32]

ROW = np.dtype([("tablespace", "u4"), ("database", "u4"), ("relation", "u4"), ("block", "u4"), ("is_limit", "?")])
"""A row of a summary: a changed block of a relation, by its relfilenode, or the relation's limit."""

NO_RELATION = 0
"""The relfilenode under which a summary keeps what holds for a database in a tablespace as a whole."""

_WORD = np.uint64(32)
_COMPACT_BEYOND = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationKey:
    """A relation by its files: tablespace and database by object id (database 0 for what all share), relfilenode."""

    tablespace: int
    database: int
    relation: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Changes:
    """Blocks of one relation, ascending, each once; whatever lies at or beyond the limit counts as changed, too."""

    limit: int | None
    blocks: Blocks


_NOTHING = Changes(limit=None, blocks=np.zeros(0, np.uint32))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChangedBlocks:
    """What changed, by relation; made by `BlockCollector`."""

    limits: dict[RelationKey, int]
    spans: dict[RelationKey, tuple[int, int]]
    blocks: Blocks

    def of(self, key: RelationKey) -> Changes:
        """What changed of this relation; no limit and no blocks for one that WAL did not speak of."""
        limit, span = self.limits.get(key), self.spans.get(key)
        if limit is None and span is None:
            return _NOTHING
        start, stop = span or (0, 0)
        return Changes(limit=limit, blocks=self.blocks[start:stop])

    def is_database_new(self, tablespace: int, database: int) -> bool:
        """Whether the database was created in, or dropped from, this tablespace: nothing of before is known there."""
        return RelationKey(tablespace=tablespace, database=database, relation=NO_RELATION) in self.limits


@dataclass(slots=True, kw_only=True)
class BlockCollector:
    """Makes one `ChangedBlocks` of the rows of any number of summaries, in any order."""

    _numbers: dict[RelationKey, int] = field(default_factory=dict[RelationKey, int])
    _limits: dict[RelationKey, int] = field(default_factory=dict[RelationKey, int])
    _kept: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    _new: list[NDArray[np.uint64]] = field(default_factory=list[NDArray[np.uint64]])
    _new_count: int = 0

    def add(self, rows: NDArray[np.void]) -> None:
        """Rows of type ROW; those of one relation should stand together, as they do in a summary."""
        if not len(rows):
            return
        starts = _run_starts(rows)
        keys = [_key(rows[int(start)]) for start in starts]
        lengths = np.diff(np.append(starts, len(rows)))
        for at in np.flatnonzero(rows["is_limit"]):
            self._lower(keys[int(np.searchsorted(starts, at, side="right")) - 1], int(rows["block"][at]))
        numbers = np.array([self._numbers.setdefault(key, len(self._numbers)) for key in keys], np.uint64)
        codes = np.repeat(numbers, lengths) << _WORD | rows["block"].astype(np.uint64)
        self._new.append(codes[~rows["is_limit"]])
        self._new_count += len(codes)
        if self._new_count > _COMPACT_BEYOND + len(self._kept):
            self._compact()

    def collected(self) -> ChangedBlocks:
        """All that was added."""
        self._compact()
        owners = self._kept >> _WORD
        bounds = np.searchsorted(owners, np.arange(len(self._numbers) + 1, dtype=np.uint64))
        spans = {
            key: (int(bounds[number]), int(bounds[number + 1]))
            for key, number in self._numbers.items()
            if bounds[number] < bounds[number + 1]
        }
        return ChangedBlocks(limits=self._limits, spans=spans, blocks=self._kept.astype(np.uint32))

    def _lower(self, key: RelationKey, limit: int) -> None:
        self._limits[key] = min(limit, self._limits.get(key, limit))

    def _compact(self) -> None:
        self._kept = np.unique(np.concatenate([self._kept, *self._new]))
        self._new, self._new_count = [], 0


def _run_starts(rows: NDArray[np.void]) -> NDArray[np.intp]:
    """Where a row's relation is not that of the row before."""
    is_start = np.ones(len(rows), np.bool_)
    before, after = rows[:-1], rows[1:]
    is_start[1:] = (
        (before["relation"] != after["relation"])
        | (before["database"] != after["database"])
        | (before["tablespace"] != after["tablespace"])
    )
    return np.flatnonzero(is_start)


def _key(row: np.void) -> RelationKey:
    return RelationKey(tablespace=int(row["tablespace"]), database=int(row["database"]), relation=int(row["relation"]))
