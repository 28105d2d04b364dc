"""What maps cost in a large database, computed from the encodings themselves: nothing of its size is written.

A few chunks of 256 MiB are taken through a first backup and days of changes; a database is many of them, since chunks
know nothing of one another. Each node is counted as stored: compressed, sealed, and listed in its pack and an index.
The listing is counted for files of 1 GiB, PostgreSQL's segments, with every file changed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from blake3 import blake3

from safepoint.model.backup import BlobRef
from safepoint.repository.maps.chunk import ChunkUpdate, Row, read_parent_chunk
from safepoint.repository.maps.listing import Chunk, Entry, EntryKind, encode_entry
from safepoint.repository.maps.nodes import NodeReader, NodeWriter
from safepoint.repository.maps.shape import CHUNK_BYTES, CHUNK_GROUPS, CHUNK_PAGES, GROUP_BYTES, GROUP_PAGES, PAGE_BYTES
from safepoint.repository.sealing.seal import OVERHEAD, compress

SIMULATED_CHUNKS = 64

_PACK_ROW = 41
_INDEX_ROW = 45
_PATCHES_IN_A_PACK = 1000
_FILE_CHUNKS = 4


@dataclass(slots=True)
class _Nodes:
    """A store of nodes in memory that counts what they would take in a repository."""

    bodies: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    stored_bytes: int = 0

    def put(self, data: bytes) -> BlobRef:
        identity = blake3(data).digest()
        self.bodies[identity] = data
        self.stored_bytes += len(compress(data)[1]) + OVERHEAD + _PACK_ROW + _INDEX_ROW
        return BlobRef(id=identity, pack=bytes(32), offset=0, length=len(data), raw_length=len(data))

    def get(self, ref: BlobRef) -> bytes:
        return self.bodies[ref.id]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapDay:
    """Of one day of changes in the whole database: bytes of the changed pages, and of the maps stored for them."""

    changed_bytes: int
    map_bytes: int


def simulated_days(*, database_bytes: int, fraction: float, days: int, seed: int = 1) -> list[MapDay]:
    """One after the other, with this share of the pages changed at random each day. Some seconds, and little memory."""
    chance = random.Random(seed)
    blobs = _blobs(chance)
    nodes = _Nodes()
    writer = NodeWriter(nodes.put)
    chunks = [_first_backup(writer, blobs, chance) for _ in range(SIMULATED_CHUNKS)]
    count = database_bytes // CHUNK_BYTES
    found: list[MapDay] = []
    for _ in range(days):
        before = nodes.stored_bytes
        drawn = [sorted(chance.sample(range(CHUNK_PAGES), round(CHUNK_PAGES * fraction))) for _ in chunks]
        reader = NodeReader(nodes.get)
        chunks = [_day(writer, reader, chunk, pages, blobs, chance) for chunk, pages in zip(chunks, drawn, strict=True)]
        map_bytes = (nodes.stored_bytes - before) * count // SIMULATED_CHUNKS + _listing_bytes(chunks[0], count)
        found.append(MapDay(changed_bytes=round(CHUNK_PAGES * fraction) * PAGE_BYTES * count, map_bytes=map_bytes))
    return found


def _first_backup(writer: NodeWriter, blobs: Iterator[BlobRef], chance: random.Random) -> Chunk:
    rows: list[Row] = [(group * GROUP_PAGES, GROUP_PAGES, next(blobs), 0) for group in range(CHUNK_GROUPS)]
    update = ChunkUpdate(parent=None)
    update.add(rows, np.arange(CHUNK_PAGES, dtype=np.int64), _fingerprints(CHUNK_PAGES, chance.getrandbits(32)))
    return update.write(writer, CHUNK_BYTES)


def _day(
    writer: NodeWriter,
    reader: NodeReader,
    chunk: Chunk,
    pages: list[int],
    blobs: Iterator[BlobRef],
    chance: random.Random,
) -> Chunk:
    rows: list[Row] = []
    for first in range(0, len(pages), GROUP_PAGES):
        blob = next(blobs)
        rows += [(page, 1, blob, at) for at, page in enumerate(pages[first : first + GROUP_PAGES])]
    update = ChunkUpdate(parent=read_parent_chunk(reader, chunk, CHUNK_BYTES))
    update.add(rows, np.array(pages, dtype=np.int64), _fingerprints(len(pages), chance.getrandbits(32)))
    return update.write(writer, CHUNK_BYTES)


def _fingerprints(pages: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.random.default_rng(seed).integers(0, 1 << 64, pages, dtype=np.uint64)


def _blobs(chance: random.Random) -> Iterator[BlobRef]:
    """Groups' and patches' blobs as packs hold them: one behind the other, at lengths that differ."""
    pack, offset = chance.randbytes(32), 48
    for number in count(1):
        length = chance.randrange(40_000, 90_000)
        yield BlobRef(id=chance.randbytes(32), pack=pack, offset=offset, length=length, raw_length=GROUP_BYTES)
        offset += length
        if number % _PATCHES_IN_A_PACK == 0:
            pack, offset = chance.randbytes(32), 48


def _listing_bytes(chunk: Chunk, chunks: int) -> int:
    """Entries of all files, each rewritten, not compressed: they are references, which hardly compress."""
    entry = Entry(
        path="base/16384/16385.1",
        kind=EntryKind.FILE,
        mode=0o600,
        size=_FILE_CHUNKS * CHUNK_BYTES,
        chunks=(chunk,) * _FILE_CHUNKS,
    )
    return -(-chunks // _FILE_CHUNKS) * len(encode_entry(entry))
