"""What the parent backup has of one file, page by page: which of given pages differ from it, and what it has there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from safepoint.kernel import page_fingerprints
from safepoint.repository.maps.chunk import read_parent_chunk
from safepoint.repository.maps.files import BackupFiles, OpenFile
from safepoint.repository.maps.intake import IngestKeys
from safepoint.repository.maps.listing import Entry
from safepoint.repository.maps.shape import CHUNK_PAGES, PAGE_BYTES, chunk_size
from safepoint.repository.packs.pack import blob_id


class ParentPages:
    """One file of the parent. One thread at a time may use it."""

    def __init__(self, files: BackupFiles, entry: Entry, keys: IngestKeys) -> None:
        self._files = files
        self._entry = entry
        self._keys = keys
        self._open: OpenFile | None = None
        self._known: tuple[int, NDArray[np.uint64]] | None = None

    def differing(self, first_page: int, data: bytes | memoryview) -> list[int]:
        """Which pages are not as the parent has them; `data` is whole pages from `first_page` on, all within its size.

        By fingerprints: reads no content, but of a file so small that it has none. RP004, RP005.
        """
        if not self._entry.chunks:
            return self._differing_of_small(first_page, data)
        values = page_fingerprints(data, self._keys.fingerprints)
        found: list[int] = []
        at = 0
        while at < len(values):
            chunk, within = divmod(first_page + at, CHUNK_PAGES)
            count = min(len(values) - at, CHUNK_PAGES - within)
            known = self._fingerprints(chunk)[within : within + count]
            found += [first_page + at + int(page) for page in np.flatnonzero(values[at : at + count] != known)]
            at += count
        return found

    def read(self, page: int) -> bytes:
        """What the parent has of this page; RP004, RP005."""
        if self._open is None:
            self._open = OpenFile(self._files, self._entry)
        return self._open.read(page * PAGE_BYTES, PAGE_BYTES)

    def _fingerprints(self, chunk: int) -> NDArray[np.uint64]:
        if self._known is None or self._known[0] != chunk:
            found = self._entry.chunks[chunk]
            parent = read_parent_chunk(self._files.nodes, found, chunk_size(self._entry.size, chunk))
            self._known = chunk, parent.known
        return self._known[1]

    def _differing_of_small(self, first_page: int, data: bytes | memoryview) -> list[int]:
        blobs = self._entry.blobs
        if first_page == 0 and len(blobs) == 1 and blob_id(self._keys.blob_ids, data) == blobs[0].id:
            return []
        count = len(data) // PAGE_BYTES
        return [
            first_page + at
            for at in range(count)
            if self.read(first_page + at) != bytes(data[at * PAGE_BYTES : (at + 1) * PAGE_BYTES])
        ]
