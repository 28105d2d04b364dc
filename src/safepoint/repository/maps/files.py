"""The files of a backup, read: at random through a bounded cache, or one after another as fast as blobs open.

A page at random costs one frame of one blob. In order, blobs are opened by threads ahead of the caller and each is
opened once, however its pages are scattered, as long as it is needed again within a bounded number of blobs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.maps import page_map, tree
from safepoint.repository.maps.assembly import Part, Piece, assembled
from safepoint.repository.maps.chunk import PAGE_MAPS
from safepoint.repository.maps.listing import Entry, EntryKind
from safepoint.repository.maps.nodes import NodeReader
from safepoint.repository.maps.page_map import PageMap
from safepoint.repository.maps.shape import CHUNK_BYTES, CHUNK_PAGES, PAGE_BYTES, chunk_size, pages_of
from safepoint.repository.packs.frames import FRAME_BYTES
from safepoint.repository.packs.reader import BlobReader

_CACHED_FRAMES = 1024  # of 64 KiB
_CACHED_MAPS = 64
_PIECE_PAGES = 512


class BackupFiles:
    """What one backup holds; `Repository.files()` makes it. One thread at a time may use it."""

    def __init__(self, blobs: BlobReader, root: BlobRef) -> None:
        self._blobs = blobs
        self.root = root
        self.nodes = NodeReader(blobs.near_reader())
        self._maps: OrderedDict[tuple[bytes, int], PageTable] = OrderedDict()
        self.frames = FrameCache(blobs)

    def entries(self) -> Iterator[Entry]:
        """All files and directories in the order of their paths' bytes; RP004, RP005."""
        return tree.entries(self.nodes, self.root)

    def entry(self, path: str) -> Entry:
        """One file or directory; BK003 when the backup has none of this path."""
        found = self.find(path)
        if found is None:
            raise errors.BK003.error(f"found no {path!r} in the backup, expected one of its files")
        return found

    def find(self, path: str) -> Entry | None:
        """One file or directory, None when the backup has none of this path; RP004, RP005."""
        return tree.find(self.nodes, self.root, path)

    def open(self, path: str) -> OpenFile:
        """A file to be read at random; BK003 when the backup has none of this path."""
        return OpenFile(self, self.entry(path))

    def contents(self, entries: Iterable[Entry]) -> Iterator[tuple[Entry, int, bytes | memoryview]]:
        """Every byte of the files, in order, as (file, offset, bytes); directories and empty files give nothing.

        RP004, RP005. Reads ahead: blobs that come next are opened while the caller deals with these.
        """
        return assembled(self._blobs, (piece for entry in entries for piece in self._pieces(entry)))

    def page_table(self, entry: Entry, chunk: int) -> PageTable:
        """Where each page of a chunk lies."""
        head, pages = entry.chunks[chunk].map, pages_of(chunk_size(entry.size, chunk))
        key = head.id, pages  # of a file that was truncated the map may still be that of a longer one
        table = self._maps.get(key)
        if table is None:
            table = PageTable.of(self.page_map(head, pages), pages)
            self._maps[key] = table
            if len(self._maps) > _CACHED_MAPS:
                self._maps.popitem(last=False)
        else:
            self._maps.move_to_end(key)
        return table

    def page_map(self, head: BlobRef, pages: int) -> PageMap:
        """The map of a chunk of that many pages; RP005 when it does not name each of them."""
        found = page_map.cut(self.nodes.chain(PAGE_MAPS, head).value, pages)
        if not page_map.is_whole(found, pages):
            raise errors.RP005.error(
                f"found the page map {head.id.hex()[:16]} with pages missing, expected all {pages} of its chunk"
            )
        return found

    def _pieces(self, entry: Entry) -> Iterator[Piece]:
        if entry.kind is not EntryKind.FILE:
            return
        offset = 0
        for blob in entry.blobs:
            yield Piece(entry=entry, offset=offset, parts=(Part(blob=blob, start=0, stop=blob.raw_length),))
            offset += blob.raw_length
        for number, chunk in enumerate(entry.chunks):
            size = chunk_size(entry.size, number)
            found = self.page_map(chunk.map, pages_of(size))
            for first in range(0, pages_of(size), _PIECE_PAGES):
                pages = min(_PIECE_PAGES, pages_of(size) - first)
                start = first * PAGE_BYTES
                yield Piece(
                    entry=entry,
                    offset=number * CHUNK_BYTES + start,
                    parts=tuple(
                        Part(blob=blob, start=at * PAGE_BYTES, stop=min((at + count) * PAGE_BYTES, blob.raw_length))
                        for _, count, blob, at in page_map.slices(found, first, pages)
                    ),
                )


class OpenFile:
    """A file of a backup, read at random. One thread at a time may use it and the files it came from."""

    def __init__(self, files: BackupFiles, entry: Entry) -> None:
        self._files = files
        self._entry = entry
        self._frame = files.frames.read

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._entry.size

    def read(self, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length), fewer where the file ends before; RP004, RP005."""
        if offset < 0 or length < 0:
            raise ValueError(f"found offset {offset} and length {length}, expected none below 0")
        end = min(offset + length, self._entry.size)
        if offset >= end:
            return b""
        page = offset // PAGE_BYTES
        within = offset % PAGE_BYTES
        if self._entry.chunks and within + (end - offset) <= PAGE_BYTES:
            blob, at = self._locate(page)
            return self._slice(blob, at + within, at + within + end - offset)
        return b"".join(self._slice(*part) for part in self._parts(offset, end))

    def _locate(self, page: int) -> tuple[BlobRef, int]:
        chunk, within = divmod(page, CHUNK_PAGES)
        return self._files.page_table(self._entry, chunk).find(within)

    def _parts(self, offset: int, end: int) -> Iterator[tuple[BlobRef, int, int]]:
        position = 0
        for blob in self._entry.blobs:
            start, stop = max(offset - position, 0), min(end - position, blob.raw_length)
            if start < stop:
                yield blob, start, stop
            position += blob.raw_length
        while self._entry.chunks and offset < end:
            within = offset % PAGE_BYTES
            count = min(PAGE_BYTES - within, end - offset)
            blob, at = self._locate(offset // PAGE_BYTES)
            yield blob, at + within, at + within + count
            offset += count

    def _slice(self, blob: BlobRef, start: int, stop: int) -> bytes:
        frame, within = divmod(start, FRAME_BYTES)
        count = stop - start
        if within + count <= FRAME_BYTES:
            return self._frame(blob, frame)[within : within + count]
        first = self._frame(blob, frame)[within:]
        return first + self._slice(blob, start + len(first), stop)


class FrameCache:
    """The frames that were read last, opened."""

    def __init__(self, blobs: BlobReader, most: int = _CACHED_FRAMES) -> None:
        self._blobs = blobs
        self._most = most
        self._frames: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()

    def read(self, blob: BlobRef, frame: int) -> bytes:
        """One frame of a blob; RP004, RP005."""
        key = (blob.id, frame)
        found = self._frames.get(key)
        if found is None:
            start = frame * FRAME_BYTES
            found = self._blobs.read_range(blob, start, min(start + FRAME_BYTES, blob.raw_length))
            self._frames[key] = found
            if len(self._frames) > self._most:
                self._frames.popitem(last=False)
        else:
            self._frames.move_to_end(key)
        return found


@dataclass(frozen=True, slots=True)
class PageTable:
    """A page map laid out by page."""

    blobs: tuple[BlobRef, ...]
    index: NDArray[np.int64]
    at: NDArray[np.int64]

    @classmethod
    def of(cls, found: PageMap, pages: int) -> PageTable:
        """The table of a whole map of that many pages."""
        first, counts, index, at = (found.extents[:, column] for column in range(4))
        return cls(
            found.blobs,
            np.repeat(index, counts),
            (np.repeat(at - first, counts) + np.arange(pages)) * PAGE_BYTES,
        )

    def find(self, page: int) -> tuple[BlobRef, int]:
        """The blob, and the page's first byte within it."""
        return self.blobs[int(self.index[page])], int(self.at[page])
