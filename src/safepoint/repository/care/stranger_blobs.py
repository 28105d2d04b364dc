"""Blobs of ours, put together from the pages that a stranger's copy of the same backup has."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import cast

from safepoint import errors
from safepoint.model.backup import BackupManifest, BlobRef
from safepoint.repository.care.copy_stranger import is_same_backup
from safepoint.repository.maps import tree
from safepoint.repository.maps.chunk import PAGE_MAPS
from safepoint.repository.maps.nodes import NodeReader
from safepoint.repository.maps.shape import CHUNK_PAGES, PAGE_BYTES, pages_of
from safepoint.repository.packs.pack import blob_id, blob_id_key
from safepoint.repository.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Bytes of a file of the stranger's backup."""

    manifest: BackupManifest
    path: str
    offset: int
    length: int


@dataclass(slots=True)
class _Blob:
    """Where the parts of a blob are, by their offset in it; each at most a page, or the whole of a small file."""

    ref: BlobRef
    parts: dict[int, _Place] = field(default_factory=dict[int, _Place])

    @property
    def is_complete(self) -> bool:
        return sum(part.length for part in self.parts.values()) == self.ref.raw_length


class StrangerBlobs:
    """Finds blobs of data in a stranger. Nodes are ours alone: no stranger has them."""

    def __init__(self, repository: Repository, stranger: Repository, nodes: NodeReader) -> None:
        self._id_key = blob_id_key(repository.keyring)
        self._stranger = stranger
        self._nodes = nodes
        theirs = {manifest.id: manifest for manifest in stranger.readable_backups()[0]}
        self._both = [
            (ours, theirs[ours.id])
            for ours in repository.readable_backups()[0]
            if ours.id in theirs and is_same_backup(ours, theirs[ours.id])
        ]
        self._known: dict[bytes, _Blob] = {}

    def look_for(self, refs: Collection[BlobRef]) -> None:
        """Afterwards it is known where these are, as far as both have a backup that needs all of one."""
        wanted = {ref.id: _Blob(ref) for ref in refs if ref.raw_length}
        for ours, theirs in self._both:
            if all(blob.is_complete for blob in wanted.values()):
                break
            with contextlib.suppress(errors.Damaged):
                self._look_through(ours, theirs, wanted)
        self._known |= {identity: blob for identity, blob in wanted.items() if blob.is_complete}

    def read(self, ref: BlobRef) -> bytes | None:
        """The blob, its id checked; None when it is not known, or the stranger's pages are others. RP004, RP005."""
        blob = self._known.get(ref.id)
        if blob is None:
            return None
        raw = b"".join(
            self._stranger.open_file(part.manifest, part.path).read(part.offset, part.length)
            for _, part in sorted(blob.parts.items())
        )
        return raw if blob_id(self._id_key, raw) == ref.id else None

    def _look_through(self, ours: BackupManifest, theirs: BackupManifest, wanted: dict[bytes, _Blob]) -> None:
        for entry in tree.entries(self._nodes, ours.root):
            offset = 0
            for ref in entry.blobs:
                if ref.id in wanted:
                    wanted[ref.id].parts = {
                        0: _Place(manifest=theirs, path=entry.path, offset=offset, length=ref.raw_length)
                    }
                offset += ref.raw_length
            for number, chunk in enumerate(entry.chunks):
                for blob, at, page in self._pages(chunk.map, wanted):
                    self._take(wanted[blob.id], at, theirs, entry.path, number * CHUNK_PAGES + page)

    def _pages(self, head: BlobRef, wanted: dict[bytes, _Blob]) -> Iterator[tuple[BlobRef, int, int]]:
        """Each page of a chunk that lies in a wanted blob: the blob, the page's number in it and in the chunk."""
        found = self._nodes.chain(PAGE_MAPS, head).value
        extents = cast("list[tuple[int, int, int, int]]", found.extents.tolist())
        for first, count, index, at in extents:
            blob = found.blobs[index]
            if blob.id in wanted:
                yield from ((blob, at + number, first + number) for number in range(count))

    def _take(self, blob: _Blob, at: int, manifest: BackupManifest, path: str, page: int) -> None:
        offset = at * PAGE_BYTES
        if at >= pages_of(blob.ref.raw_length) or offset in blob.parts:
            return
        length = min(PAGE_BYTES, blob.ref.raw_length - offset)
        blob.parts[offset] = _Place(manifest=manifest, path=path, offset=page * PAGE_BYTES, length=length)
