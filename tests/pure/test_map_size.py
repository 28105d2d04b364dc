"""What maps cost: 100 GB of relation files, simulated with the bytes that would be stored, 1 % changed a day.

All nodes are those that the writers of maps make, compressed as packs compress them. Chunks behave alike, so a few
are simulated and stand for all; the listing is whole. The budget for a backup's nodes is 3 % of the bytes of the pages
that changed, and 64 KiB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import zstandard
from numpy.typing import NDArray

from safepoint.model.backup import BlobRef
from safepoint.repository.maps import tree
from safepoint.repository.maps.chunk import ChunkUpdate, Row, read_parent_chunk
from safepoint.repository.maps.listing import Chunk, Entry, EntryKind
from safepoint.repository.maps.nodes import NodeReader, NodeWriter
from safepoint.repository.maps.shape import (
    CHUNK_BYTES,
    CHUNK_GROUPS,
    CHUNK_PAGES,
    GROUP_PAGES,
    PAGE_BYTES,
)

FILES = 100
CHUNKS_PER_FILE = 4  # segments of 1 GB
CHUNKS = FILES * CHUNKS_PER_FILE
SIMULATED = 4
CHANGED_PAGES = CHUNK_PAGES // 100
BUDGET_SHARE = 0.03
BUDGET_BYTES = 64 * 1024
PACKED_BLOBS = 600
BLOB_LISTED = 41 + 45  # in its pack's table and in an index
SEALED = 17  # codec and tag


@dataclass(slots=True)
class Simulated:
    """A store of nodes that counts what they would take, and makes up the places of blobs of data."""

    random: np.random.Generator
    nodes: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    stored_bytes: int = 0
    blobs: int = 0
    pack: bytes = bytes(32)

    def put(self, data: bytes) -> BlobRef:
        """The node is kept and its stored bytes are counted."""
        length = stored_length(data)
        self.stored_bytes += length + BLOB_LISTED
        ref = self.place(length, len(data))
        self.nodes[ref.id] = data
        return ref

    def put_data(self, pages: int) -> BlobRef:
        """A made-up blob of so many pages, compressed to between a third and a half; nothing is counted."""
        raw_length = pages * PAGE_BYTES
        return self.place(int(self.random.integers(raw_length // 3, raw_length // 2)), raw_length)

    def place(self, length: int, raw_length: int) -> BlobRef:
        """The next place, in a new pack from time to time."""
        if self.blobs % PACKED_BLOBS == 0:
            self.pack = self.random.bytes(32)
        self.blobs += 1
        offset = 48 + self.blobs % PACKED_BLOBS * 100_000 + length % 100_000
        return BlobRef(id=self.random.bytes(32), pack=self.pack, offset=offset, length=length, raw_length=raw_length)

    def read(self, ref: BlobRef) -> bytes:
        """The node that was put."""
        return self.nodes[ref.id]


def stored_length(data: bytes) -> int:
    """Bytes of a blob as a pack holds it: compressed where that helps."""
    return SEALED + min(len(data), len(zstandard.ZstdCompressor(level=1).compress(data)))


@dataclass(slots=True)
class Database:
    """The simulated chunks of the newest backup, and its listing."""

    store: Simulated
    chunks: list[Chunk]
    root: BlobRef

    def back_up(self, pages_of_chunk: list[NDArray[np.int64]], *, of_all_files: bool = True) -> float:
        """One backup after these pages of the chunks changed, there alone or alike in all files: bytes of its nodes."""
        before = self.store.stored_bytes
        self.chunks = [
            changed_chunk(self.store, chunk, pages) for chunk, pages in zip(self.chunks, pages_of_chunk, strict=True)
        ]
        maps = self.store.stored_bytes - before
        self.root = put_listing(self.store, self.chunks, self.root, of_all_files=of_all_files)
        listing = self.store.stored_bytes - before - maps
        return maps * (CHUNKS / SIMULATED if of_all_files else 1) + listing


def new_database(seed: int) -> Database:
    """After a first backup: a blob for each group."""
    store = Simulated(random=np.random.default_rng(seed))
    chunks = [first_chunk(store) for _ in range(SIMULATED)]
    return Database(store=store, chunks=chunks, root=put_listing(store, chunks, None))


def first_chunk(store: Simulated) -> Chunk:
    """A chunk that no backup has."""
    update = ChunkUpdate(parent=None)
    groups = range(CHUNK_GROUPS)
    rows: list[Row] = [(group * GROUP_PAGES, GROUP_PAGES, store.put_data(GROUP_PAGES), 0) for group in groups]
    update.add(rows, np.arange(CHUNK_PAGES), new_fingerprints(store, CHUNK_PAGES))
    return update.write(NodeWriter(store.put), CHUNK_BYTES)


def changed_chunk(store: Simulated, chunk: Chunk, pages: NDArray[np.int64]) -> Chunk:
    """The chunk after these pages changed: patched, and groups in too many pieces written whole."""
    parent = read_parent_chunk(NodeReader(store.read), chunk, CHUNK_BYTES)
    groups = pages // GROUP_PAGES
    has_room = np.array([parent.has_room_in(int(group)) for group in groups], dtype=np.bool_)
    update = ChunkUpdate(parent=parent)
    rows = [*patches(store, pages[has_room]), *whole_groups(store, np.unique(groups[~has_room]))]
    update.add(rows, pages, new_fingerprints(store, len(pages)))
    return update.write(NodeWriter(store.put), CHUNK_BYTES)


def patches(store: Simulated, pages: NDArray[np.int64]) -> Iterator[Row]:
    """Changed pages in page order, 32 to a blob."""
    for at in range(0, len(pages), GROUP_PAGES):
        patch: list[int] = pages[at : at + GROUP_PAGES].tolist()
        blob = store.put_data(len(patch))
        yield from ((page, 1, blob, start) for start, page in enumerate(patch))


def whole_groups(store: Simulated, groups: NDArray[np.int64]) -> Iterator[Row]:
    """Groups in one new blob each."""
    return ((int(group) * GROUP_PAGES, GROUP_PAGES, store.put_data(GROUP_PAGES), 0) for group in groups)


def new_fingerprints(store: Simulated, pages: int) -> NDArray[np.uint64]:
    """As good as random."""
    return store.random.integers(0, 2**64, size=pages, dtype=np.uint64)


def put_listing(store: Simulated, chunks: list[Chunk], parent: BlobRef | None, *, of_all_files: bool = True) -> BlobRef:
    """The listing: the first file has the simulated chunks, the others have made-up ones, new ones if all changed."""
    nodes = NodeReader(store.read)
    before = tree.ParentListing() if parent is None else tree.read_parent(nodes, parent)
    entries = [entry_at(path_of(0), tuple(chunks))]
    for file in range(1, FILES):
        old = before.entry(path_of(file))
        entries.append(entry_at(path_of(file), made_up_chunks(store)) if old is None or of_all_files else old)
    return tree.write(NodeWriter(store.put), entries, before)


def made_up_chunks(store: Simulated) -> tuple[Chunk, ...]:
    """References to nodes that nobody put."""
    return tuple(Chunk(map=store.put_data(1), fingerprints=store.put_data(1)) for _ in range(CHUNKS_PER_FILE))


def path_of(file: int) -> str:
    """As relations have it."""
    return f"base/16384/{20_000 + file}"


def entry_at(path: str, chunks: tuple[Chunk, ...]) -> Entry:
    """A segment of 1 GB."""
    size = CHUNKS_PER_FILE * CHUNK_BYTES
    return Entry(path=path, kind=EntryKind.FILE, mode=0o600, size=size, chunks=chunks)


def random_pages(database: Database) -> list[NDArray[np.int64]]:
    """1 % of each chunk's pages, anywhere."""
    draw = database.store.random.choice
    return [np.sort(draw(CHUNK_PAGES, CHANGED_PAGES, replace=False)) for _ in range(SIMULATED)]


def share_of_changed(node_bytes: float) -> float:
    """Of the bytes of the pages that changed, when 1 % of all did; what is free of charge is taken off."""
    return (node_bytes - BUDGET_BYTES) / (CHUNKS * CHANGED_PAGES * PAGE_BYTES)


def test_a_month_of_random_changes_keeps_maps_small(record_property: Callable[[str, object], None]) -> None:
    """30 days, 1 % of the pages changed on each: within the budget on the first day and on average; chains are short.

    Days on which nodes are written whole cost more, here on the same day for all chunks: the worst is recorded.
    """
    database = new_database(seed=1)

    shares = [share_of_changed(database.back_up(random_pages(database))) for _ in range(30)]

    average = sum(shares) / len(shares)
    record_property("node bytes of changed page bytes", {"first": shares[0], "average": average, "worst": max(shares)})
    assert shares[0] <= BUDGET_SHARE
    assert average <= BUDGET_SHARE
    for chunk in database.chunks:
        parent = read_parent_chunk(NodeReader(database.store.read), chunk, CHUNK_BYTES)
        assert len(parent.map.links) <= 5
        assert len(parent.fingerprints.links) <= 5


def test_a_page_changed_costs_what_is_free_of_charge() -> None:
    """One page of 100 GB changed, each day of a month: its nodes, listing included, are within 64 KiB each day."""
    database = new_database(seed=2)
    pages = database.store.random.integers(0, CHUNK_PAGES, size=(30, 1))
    none = np.zeros(0, dtype=np.int64)

    costs = [database.back_up([page, *[none] * (SIMULATED - 1)], of_all_files=False) for page in pages]

    assert max(costs) <= BUDGET_BYTES
    assert sum(costs) / len(costs) <= BUDGET_BYTES / 10
