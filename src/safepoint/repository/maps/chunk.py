"""One chunk of one file: what the parent has of it, and the new page map and fingerprints when something changed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.maps import fingerprints, page_map
from safepoint.repository.maps.fingerprints import Fingerprints
from safepoint.repository.maps.listing import Chunk
from safepoint.repository.maps.nodes import Kind, NodeChain, NodeReader, NodeWriter
from safepoint.repository.maps.page_map import PageMap
from safepoint.repository.maps.shape import MOST_GROUP_BLOBS, PAGE_BYTES, pages_of

Row = tuple[int, int, BlobRef, int]
"""First page of the chunk, pages, the blob that holds them, and the first of them within the blob."""

PAGE_MAPS: Kind[PageMap] = Kind(
    name="page map", encode=page_map.encode, decode=page_map.decode, overlay=page_map.overlay
)
FINGERPRINTS: Kind[Fingerprints] = Kind(
    name="list of fingerprints", encode=fingerprints.encode, decode=fingerprints.decode, overlay=fingerprints.overlay
)

NO_FINGERPRINTS = Fingerprints(pages=np.zeros(0, np.int64), values=np.zeros(0, np.uint64))


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentChunk:
    """What the parent backup has of the chunk, `size` bytes of it."""

    chunk: Chunk
    size: int
    map: NodeChain[PageMap]
    fingerprints: NodeChain[Fingerprints]
    known: NDArray[np.uint64]
    group_blobs: NDArray[np.int64]

    @property
    def pages(self) -> int:
        """How many pages it has; the last may be short."""
        return pages_of(self.size)

    def has_room_in(self, group: int) -> bool:
        """Whether the group may be spread over one more blob."""
        return group >= len(self.group_blobs) or int(self.group_blobs[group]) < MOST_GROUP_BLOBS


def read_parent_chunk(nodes: NodeReader, chunk: Chunk, size: int) -> ParentChunk:
    """The chunk of a parent; RP004, RP005."""
    maps = nodes.chain(PAGE_MAPS, chunk.map)
    prints = nodes.chain(FINGERPRINTS, chunk.fingerprints)
    return ParentChunk(
        chunk=chunk,
        size=size,
        map=maps,
        fingerprints=prints,
        known=_dense(prints, size),
        group_blobs=page_map.blob_counts(maps.value),
    )


def read_fingerprints(nodes: NodeReader, chunk: Chunk, size: int) -> NDArray[np.uint64]:
    """The fingerprint of each page of a chunk of `size` bytes; RP004, RP005."""
    return _dense(nodes.chain(FINGERPRINTS, chunk.fingerprints), size)


def _dense(prints: NodeChain[Fingerprints], size: int) -> NDArray[np.uint64]:
    try:
        return fingerprints.dense(prints.value, pages_of(size))
    except ValueError as error:
        raise errors.RP005.error(
            f"cannot use the list of fingerprints {prints.head.id.hex()[:16]} in pack {prints.head.pack.hex()[:16]}: "
            f"{error}"
        ) from error


def page_size(size: int, page: int) -> int:
    """How many bytes of a chunk of `size` bytes lie in this page of it."""
    return min(max(size - page * PAGE_BYTES, 0), PAGE_BYTES)


@dataclass(slots=True, kw_only=True)
class ChunkUpdate:
    """Collects what is new in one chunk and writes its nodes."""

    parent: ParentChunk | None
    rows: list[Row] = field(default_factory=list[Row])
    pages: list[NDArray[np.int64]] = field(default_factory=list[NDArray[np.int64]])
    values: list[NDArray[np.uint64]] = field(default_factory=list[NDArray[np.uint64]])

    def add(self, rows: list[Row], pages: NDArray[np.int64], values: NDArray[np.uint64]) -> None:
        """These pages lie there now, and have these fingerprints."""
        self.rows += rows
        self.pages.append(pages)
        self.values.append(values)

    def write(self, writer: NodeWriter, size: int) -> Chunk:
        """The chunk, `size` bytes of the file, durable when the writer of packs is finished."""
        before = self.parent
        is_whole = before is None or 2 * pages_of(size) < page_map.end(before.map.value)
        if before is not None and not is_whole and not self.rows and size <= before.size:
            return before.chunk
        changed, now = self._map(pages_of(size))
        prints, prints_now = self._fingerprints(pages_of(size))
        if before is None or is_whole:  # changes cannot say that a file ends earlier: its tail would be kept for ever
            return Chunk(map=writer.full(PAGE_MAPS, now), fingerprints=writer.full(FINGERPRINTS, prints_now))
        return Chunk(
            map=writer.changed(PAGE_MAPS, before.map, changed, lambda: now),
            fingerprints=writer.changed(FINGERPRINTS, before.fingerprints, prints, lambda: prints_now),
        )

    def _map(self, pages: int) -> tuple[PageMap, PageMap]:
        """What changed of the map, and the whole of it."""
        changed = page_map.page_map(self.rows)
        before = page_map.EMPTY if self.parent is None else self.parent.map.value
        now = page_map.cut(page_map.overlay(before, changed), pages)
        if not page_map.is_whole(now, pages):
            raise errors.IN001.error(
                f"found pages missing among the {pages} of a chunk, expected a blob for each",
                changed="no backup was made; what was stored for it is left to the next collection",
                hints=[
                    errors.ask("does it happen again? Then please report it, with the version of safepoint"),
                    errors.run("take the backup again: `safepoint backup`"),
                ],
            )
        return changed, now

    def _fingerprints(self, pages: int) -> tuple[Fingerprints, Fingerprints]:
        numbers = np.concatenate([np.zeros(0, np.int64), *self.pages])
        values = np.concatenate([np.zeros(0, np.uint64), *self.values])
        order = np.argsort(numbers, kind="stable")
        changed = Fingerprints(pages=numbers[order], values=values[order])
        before = NO_FINGERPRINTS if self.parent is None else self.parent.fingerprints.value
        return changed, fingerprints.cut(fingerprints.overlay(before, changed), pages)
