"""Blobs of ours, put together from what a stranger's copy of the same backup has at the same places of its files.

Where that is, is looked up once for all blobs that are wanted: each node of a map that several backups share is looked
at once. Reading costs about the bytes that are read, in ranges of 1 MiB.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

from safepoint import errors
from safepoint.model.backup import BackupManifest, BlobRef
from safepoint.repository.care.copy_stranger import is_same_backup
from safepoint.repository.maps import page_map, tree
from safepoint.repository.maps.chunk import PAGE_MAPS
from safepoint.repository.maps.files import BackupFiles, PageTable
from safepoint.repository.maps.listing import Entry
from safepoint.repository.maps.nodes import NodeReader
from safepoint.repository.maps.shape import PAGE_BYTES, chunk_size, pages_of
from safepoint.repository.packs.pack import blob_id, blob_id_key
from safepoint.repository.repository import Repository

_OPEN_BLOBS = 8


@dataclass(slots=True)
class _Part:
    """Bytes [at, at + length) of a blob of ours are bytes [start, start + length) of this one of the stranger."""

    at: int
    blob: BlobRef
    start: int
    length: int


@dataclass(slots=True)
class _Wanted:
    """Where the parts of a blob are, as far as they were found."""

    ref: BlobRef
    parts: list[_Part] = field(default_factory=list[_Part])
    found: set[int] = field(default_factory=set[int])

    @property
    def is_complete(self) -> bool:
        return sum(part.length for part in self.parts) == self.ref.raw_length

    def take(self, page: int, blob: BlobRef, start: int) -> None:
        """This page lies there; one that follows the page taken before makes the same part longer."""
        at = page * PAGE_BYTES
        if page in self.found or at >= self.ref.raw_length:
            return
        self.found.add(page)
        length = min(PAGE_BYTES, self.ref.raw_length - at)
        last = self.parts[-1] if self.parts else None
        if last and last.blob == blob and (last.at + last.length, last.start + last.length) == (at, start):
            last.length += length
        else:
            self.parts.append(_Part(at, blob, start, length))


_Extent = tuple[_Wanted, int, int, int]
"""Pages of a wanted blob in a chunk: the blob, their first there and in the chunk, and how many."""


class StrangerBlobs:
    """Finds blobs of data in a stranger. Nodes are ours alone: no stranger has them. One thread at a time."""

    def __init__(self, repository: Repository, stranger: Repository, nodes: NodeReader) -> None:
        self._id_key = blob_id_key(repository.keyring)
        self._stranger = stranger
        self._nodes = nodes
        self._read = lru_cache(_OPEN_BLOBS)(stranger.blobs.near_reader())
        theirs = {manifest.id: manifest for manifest in stranger.readable_backups()[0]}
        self._both = [
            (ours, theirs[ours.id])
            for ours in repository.readable_backups()[0]
            if ours.id in theirs and is_same_backup(ours, theirs[ours.id])
        ]
        self._known: dict[bytes, tuple[_Part, ...]] = {}

    def look_for(self, refs: Collection[BlobRef]) -> None:
        """Afterwards it is known where these are, as far as both have a backup that needs all of one."""
        wanted = {ref.id: _Wanted(ref) for ref in refs if ref.raw_length}
        walked: set[bytes] = set()
        for ours, theirs in self._both:
            if all(blob.is_complete for blob in wanted.values()):
                break
            with contextlib.suppress(errors.Damaged):
                self._look_through(ours, self._stranger.files(theirs), wanted, walked)
        for blob in wanted.values():
            if blob.is_complete:
                self._known[blob.ref.id] = tuple(sorted(blob.parts, key=lambda part: part.at))

    def read(self, ref: BlobRef) -> bytes | None:
        """The blob, its id checked; None when it is not known, or the stranger's bytes are others. RP004, RP005."""
        parts = self._known.get(ref.id)
        if parts is None:
            return None
        raw = b"".join(self._read(part.blob)[part.start : part.start + part.length] for part in parts)
        return raw if blob_id(self._id_key, raw) == ref.id else None

    def _look_through(
        self, ours: BackupManifest, theirs: BackupFiles, wanted: Mapping[bytes, _Wanted], walked: set[bytes]
    ) -> None:
        for chain in tree.walk(self._nodes, ours.root, is_known=walked.__contains__):
            is_whole = True
            for entry in tree.entries_of(chain) if chain.value.level == 0 else ():
                try:
                    _take_blobs(entry, theirs, wanted)
                    self._take_chunks(entry, theirs, wanted, walked)
                except errors.Damaged:
                    is_whole = False  # the stranger lacks something of this file; another backup may show it
            if is_whole:
                walked.add(chain.head.id)

    def _take_chunks(
        self, entry: Entry, theirs: BackupFiles, wanted: Mapping[bytes, _Wanted], walked: set[bytes]
    ) -> None:
        for number, chunk in enumerate(entry.chunks):
            if chunk.map.id in walked:
                continue
            pages = pages_of(chunk_size(entry.size, number))
            extents = list(self._extents(chunk.map, pages, wanted))
            if extents:
                _take_pages(extents, theirs.page_table(_same_entry(entry, theirs), number))
            walked.add(chunk.map.id)

    def _extents(self, head: BlobRef, pages: int, wanted: Mapping[bytes, _Wanted]) -> Iterator[_Extent]:
        found = page_map.cut(self._nodes.chain(PAGE_MAPS, head).value, pages)
        extents = cast("list[tuple[int, int, int, int]]", found.extents.tolist())
        for first, count, index, at in extents:
            blob = wanted.get(found.blobs[index].id)
            if blob is not None and not blob.is_complete:
                yield blob, at, first, count


def _take_pages(extents: Iterable[_Extent], there: PageTable) -> None:
    for blob, at, first, count in extents:
        for page in range(count):
            blob.take(at + page, *there.find(first + page))


def _take_blobs(entry: Entry, theirs: BackupFiles, wanted: Mapping[bytes, _Wanted]) -> None:
    """Those of a small file."""
    offset = 0
    for ref in entry.blobs:
        blob = wanted.get(ref.id)
        if blob is not None and not blob.is_complete:
            blob.parts = list(_parts(_same_entry(entry, theirs), offset, offset + ref.raw_length))
        offset += ref.raw_length


def _parts(entry: Entry, start: int, end: int) -> Iterator[_Part]:
    """Where bytes [start, end) of a small file lie."""
    offset = 0
    for ref in entry.blobs:
        first, last = max(start, offset), min(end, offset + ref.raw_length)
        if first < last:
            yield _Part(first - start, ref, first - offset, last - first)
        offset += ref.raw_length


def _same_entry(entry: Entry, theirs: BackupFiles) -> Entry:
    """The stranger's of the same path; RP004 when it has another there."""
    found = theirs.find(entry.path)
    if found is None or found.size != entry.size:
        raise errors.RP004.error(f"found no {entry.path!r} of {entry.size} bytes in the copy, expected it")
    return found
