"""The files INCREMENTAL.*, in which a server (17 and later) sends the changed blocks of a relation's file.

A header of little-endian words: magic, number of blocks, truncation block length, then the blocks' numbers; filled up
to a whole block where there are any; then the blocks. The file that results is as long as the truncation block length,
or as its last block asks for.

Source: PostgreSQL 17 and 18, src/backend/backup/basebackup_incremental.c; src/bin/pg_combinebackup/reconstruct.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safepoint import errors
from safepoint.postgres.tar_stream import ByteStream

BLOCK_BYTES = 8192
SEGMENT_BLOCKS = 131_072
PREFIX = "INCREMENTAL."

_MAGIC = 0xD3AE1F0D
_HEADER = struct.Struct("<III")
_NUMBER = np.dtype("<u4")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IncrementalHeader:
    """What follows: these blocks, ascending; the file is `length` blocks long, and the others are the earlier one's."""

    blocks: NDArray[np.int64]
    length: int


def path_of(path: str) -> str | None:
    """The path of the file that an incremental file stands for; None when the path is not one's."""
    directory, slash, name = path.rpartition("/")
    return f"{directory}{slash}{name.removeprefix(PREFIX)}" if name.startswith(PREFIX) else None


def read_header(stream: ByteStream, path: str) -> IncrementalHeader:
    """The header; the blocks come next. BK001 for anything else."""
    head = stream.read(_HEADER.size)
    if len(head) < _HEADER.size:
        raise _not_understood(path, f"{len(head)} bytes")
    magic, count, truncation = _HEADER.unpack(head)
    if magic != _MAGIC or count > SEGMENT_BLOCKS:
        raise _not_understood(path, f"magic {magic:#x} and {count} blocks")
    listed = stream.read(count * _NUMBER.itemsize)
    if len(listed) < count * _NUMBER.itemsize:
        raise _not_understood(path, f"{len(listed)} bytes of block numbers")
    if count:
        stream.read(-(_HEADER.size + len(listed)) % BLOCK_BYTES)
    blocks = np.frombuffer(listed, _NUMBER).astype(np.int64)
    if count and (bool((np.diff(blocks) <= 0).any()) or blocks[-1] >= SEGMENT_BLOCKS):
        raise _not_understood(path, "block numbers out of order or too high")
    # Before they were held to it, servers of relations of several files stated lengths beyond one file's.
    length = max(min(truncation, SEGMENT_BLOCKS), int(blocks[-1]) + 1 if count else 0)
    return IncrementalHeader(blocks=blocks, length=length)


def read_blocks(stream: ByteStream, header: IncrementalHeader, path: str) -> Iterator[tuple[int, bytes]]:
    """Each block with its number, to be read before the stream goes on; BK001 when it ends before."""
    for number in header.blocks.tolist():
        block = stream.read(BLOCK_BYTES)
        if len(block) != BLOCK_BYTES:
            raise _not_understood(path, f"{len(block)} bytes as block {number}")
        yield number, block


def _not_understood(path: str, found: str) -> errors.SafepointError:
    return errors.BK001.error(
        f"found {found} in {path}, expected an incremental file",
        changed="no backup was made",
    )
