"""What must be read of a file, given what WAL says has changed since the parent backup. Pure.

WAL summaries are believed for main forks of relations that the parent has, and for nothing else: they miss changes to
visibility and free space maps, and speak neither of `_init` forks nor of any other file. Of a main fork every page is
read that they name, that lies at or beyond the smallest limit, or that the parent does not have. Whatever is odd is
read whole.

Of what is skipped a share is read again by each backup, so that all is within SHARES backups that skip.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from safepoint.model.changed_blocks import ChangedBlocks, RelationKey

BLOCK_BYTES = 8192
SEGMENT_BLOCKS = 131_072
"""Blocks of a relation that one file holds (RELSEG_SIZE as PostgreSQL is built by default)."""

SHARES = 14
PIECE_BLOCKS = 1024
"""A share is made of pieces of files, this many blocks each."""

Blocks = NDArray[np.int64]

_DEFAULT_TABLESPACE = 1663  # pg_default, src/include/catalog/pg_tablespace.dat
_GLOBAL_TABLESPACE = 1664
_MAIN_FORK = re.compile(
    r"(?:global|base/(?P<base>\d+)|pg_tblspc/(?P<tablespace>\d+)/PG_\d+_\d+/(?P<database>\d+))"
    r"/(?P<relation>[1-9]\d{0,9})(?:\.(?P<segment>[1-9]\d{0,5}))?"
)


@dataclass(frozen=True, slots=True)
class MainForkFile:
    """A file of a main fork: segment `segment` of the relation."""

    key: RelationKey
    segment: int

    @property
    def first_block(self) -> int:
        """The number within the fork of the file's first block."""
        return self.segment * SEGMENT_BLOCKS


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The file is as the parent has it."""


@dataclass(frozen=True, slots=True, eq=False)
class Pages:
    """These pages of the file must be read, numbered from its beginning, ascending; all others the parent has."""

    numbers: Blocks


@dataclass(frozen=True, slots=True)
class ReadAll:
    """The file must be read whole; `why` ends a sentence that begins with its path."""

    why: str


Reading = Unchanged | Pages | ReadAll


def main_fork_file(path: str) -> MainForkFile | None:
    """What the file of this path, below the data directory, is of which main fork; None for every other file."""
    match = _MAIN_FORK.fullmatch(path)
    if match is None:
        return None
    if match["tablespace"] is not None:
        tablespace, database = int(match["tablespace"]), int(match["database"])
    elif match["base"] is not None:
        tablespace, database = _DEFAULT_TABLESPACE, int(match["base"])
    else:
        tablespace, database = _GLOBAL_TABLESPACE, 0
    key = RelationKey(tablespace=tablespace, database=database, relation=int(match["relation"]))
    return MainForkFile(key, int(match["segment"] or 0))


def reading_of(
    path: str, size: int, parent_size: int | None, changed: ChangedBlocks, *, distrusted: frozenset[int] = frozenset()
) -> Reading:
    """What must be read of a file of `size` bytes; `parent_size` is None where the parent backup has no such file.

    `distrusted` are pages of the file, from its beginning, of which the parent's is no good.
    """
    file = main_fork_file(path)
    if file is None:
        return ReadAll("is no main fork of a relation")
    if parent_size is None:
        return ReadAll("is not in the parent")
    odd = _oddity(size) or _oddity(parent_size)
    if odd is not None:
        return ReadAll(odd)
    if changed.is_database_new(file.key.tablespace, file.key.database):
        return ReadAll("belongs to a database that was created since the parent")
    return _by_blocks(file, size // BLOCK_BYTES, parent_size // BLOCK_BYTES, changed, distrusted)


def new_from(file: MainForkFile, parent_size: int, changed: ChangedBlocks) -> int:
    """The first page of the file, from its beginning, that the parent cannot vouch for, whatever WAL names."""
    limit = changed.of(file.key).limit
    length = parent_size // BLOCK_BYTES
    return length if limit is None else min(max(limit - file.first_block, 0), length)


def is_in_share(cluster: str, path: str, share: int) -> bool:
    """Whether the whole file, where it is skipped, is read again by the backup of this share."""
    return _number(cluster, path) == share % SHARES


def pieces_in_share(cluster: str, path: str, pages: int, share: int) -> list[range]:
    """The pages of a file of so many that are read again by the backup of this share."""
    firsts = range(0, pages, PIECE_BLOCKS)
    return [
        range(first, min(first + PIECE_BLOCKS, pages))
        for first in firsts
        if (_number(cluster, path) + first // PIECE_BLOCKS) % SHARES == share % SHARES
    ]


def _by_blocks(
    file: MainForkFile, pages: int, parent_pages: int, changed: ChangedBlocks, distrusted: frozenset[int]
) -> Reading:
    changes = changed.of(file.key)
    first_new = new_from(file, parent_pages * BLOCK_BYTES, changed)
    if first_new == 0 and changes.limit is not None:
        return ReadAll("was created, or made as short as this, since the parent")
    if pages < parent_pages and (changes.limit is None or changes.limit - file.first_block > pages):
        return ReadAll("is shorter than in the parent, and no WAL says why")
    first = np.searchsorted(changes.blocks, file.first_block)
    stop = np.searchsorted(changes.blocks, file.first_block + min(first_new, pages))
    named = changes.blocks[first:stop].astype(np.int64) - file.first_block
    new = np.arange(first_new, pages, dtype=np.int64)
    doubtful = np.array([page for page in distrusted if page < pages], np.int64)
    numbers = np.unique(np.concatenate((named, new, doubtful)))
    return Unchanged() if not len(numbers) and pages == parent_pages else Pages(numbers)


def _oddity(size: int) -> str | None:
    if size % BLOCK_BYTES:
        return f"is {size} bytes long, no whole number of pages"
    if size > SEGMENT_BLOCKS * BLOCK_BYTES:
        return f"is {size} bytes long, more than a file of a relation"
    return None


def _number(cluster: str, path: str) -> int:
    """Which share a path is in, evenly spread, and differently in each cluster."""
    digest = blake3(path.encode("utf-8", "surrogateescape"), key=blake3(cluster.encode()).digest()).digest(length=8)
    return int.from_bytes(digest, "big") % SHARES
