"""The files of a backup, read: at random through a bounded cache, or one after another as fast as blobs open.

A page at random costs the blob it lies in, 256 KiB at most. In order, blobs are opened by threads ahead of the caller
and each is opened once, however its pages are scattered, as long as it is needed again within a bounded number of
blobs.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.maps import page_map, tree
from safepoint.repository.maps.assembly import PIECE_BYTES, Part, Piece, assembled
from safepoint.repository.maps.chunk import PAGE_MAPS, read_fingerprints
from safepoint.repository.maps.listing import Chunk, Entry, EntryKind
from safepoint.repository.maps.nodes import NodeReader
from safepoint.repository.maps.page_map import PageMap
from safepoint.repository.maps.shape import CHUNK_BYTES, CHUNK_PAGES, PAGE_BYTES, chunk_size, pages_of
from safepoint.repository.packs.reader import BlobReader

_CACHED_BYTES = 32 * 1024 * 1024
_CACHED_PAGES = 4096
_CACHED_MAPS = 64
_PIECE_PAGES = PIECE_BYTES // PAGE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRuns:
    """Pages of a file that has chunks: ascending runs (first page, pages), at most PIECE_BYTES of one chunk.

    Of a file without chunks, all of it, whatever the runs.
    """

    entry: Entry
    runs: tuple[tuple[int, int], ...] = ()


class BackupFiles:
    """What one backup holds; `Repository.files()` makes it. One thread at a time may use it."""

    def __init__(self, blobs: BlobReader, root: BlobRef) -> None:
        self._blobs = blobs
        self.root = root
        self.nodes = NodeReader(blobs.near_reader())
        self._maps: OrderedDict[tuple[bytes, int], PageTable] = OrderedDict()
        self.cache = PageCache(blobs)

    def entries(self) -> Iterator[Entry]:
        """All files and directories in the order of their paths' bytes; RP004, RP005."""
        return tree.entries(self.nodes, self.root)

    def entry(self, path: str) -> Entry:
        """One file or directory; BK003 when the backup has none of this path."""
        found = self.find(path)
        if found is None:
            raise errors.BK003.error(
                f"found no {path!r} in the backup, expected one of its files",
                hints=[
                    errors.ask("is it named as in the data directory, as in `base/5/16385`, or was it made later?"),
                    errors.run("see which backups there are: `safepoint backups`"),
                ],
            )
        return found

    def find(self, path: str) -> Entry | None:
        """One file or directory, None when the backup has none of this path; RP004, RP005."""
        return tree.find(self.nodes, self.root, path)

    def open(self, path: str) -> OpenFile:
        """A file to be read at random; BK003 when the backup has none of this path."""
        return OpenFile(self, self.entry(path))

    def contents(self, entries: Iterable[Entry]) -> Iterator[tuple[Entry, int, bytes | memoryview]]:
        """Every byte of the files, in order, as (file, offset, bytes); directories and empty files give nothing.

        RP004, RP005. Reads ahead: blobs that come next are opened while the caller deals with these. The bytes of
        the last KEPT_PIECES are good until the next are asked for.
        """
        return assembled(self._blobs, (piece for entry in entries for piece in self._pieces(entry)))

    def read_pages(self, wanted: Iterable[PageRuns]) -> Iterator[tuple[PageRuns, bytes | memoryview]]:
        """The bytes of the pages, run after run, in the order in which they are asked for; RP004, RP005.

        Reads ahead and lends what it gives, as `contents` does; what comes next is asked for in this thread, long
        before it is given.
        """
        asked: deque[PageRuns] = deque()
        for _, _, data in assembled(self._blobs, self._asked(wanted, asked)):
            yield asked.popleft(), data

    def all_pages(self, entry: Entry) -> Iterator[PageRuns]:
        """All pages of the file, as `read_pages` takes them."""
        if not entry.chunks:
            yield PageRuns(entry=entry)
        for first, pages in _pieces_of(entry):
            yield PageRuns(entry=entry, runs=((first, pages),))

    def fingerprints(self, entry: Entry) -> Iterator[tuple[int, NDArray[np.uint64]]]:
        """The fingerprints of all pages of a file that has chunks, as (first page, one each); RP004, RP005.

        No more at a time than `read_pages` takes together.
        """
        known: NDArray[np.uint64] | None = None
        for first, pages in _pieces_of(entry):
            number, within = divmod(first, CHUNK_PAGES)
            if known is None or not within:
                known = read_fingerprints(self.nodes, entry.chunks[number], chunk_size(entry.size, number))
            yield first, known[within : within + pages]

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
                slices = page_map.slices(found, first, pages)
                yield Piece(
                    entry=entry,
                    offset=number * CHUNK_BYTES + first * PAGE_BYTES,
                    parts=tuple(_part(entry, size, *found) for found in slices),
                )

    def _asked(self, wanted: Iterable[PageRuns], asked: deque[PageRuns]) -> Iterator[Piece]:
        """The piece of each that is wanted; several in a row of one chunk cost one look at its map."""
        last: tuple[Chunk, int, PageMap] | None = None
        for pages in wanted:
            entry, runs = pages.entry, pages.runs
            asked.append(pages)
            if not entry.chunks:
                yield from self._pieces(entry)
                continue
            number = runs[0][0] // CHUNK_PAGES
            chunk, size = entry.chunks[number], chunk_size(entry.size, number)
            if last is None or last[:2] != (chunk, size):
                last = chunk, size, self.page_map(chunk.map, pages_of(size))
            found = (
                part for first, count in runs for part in page_map.slices(last[2], first - number * CHUNK_PAGES, count)
            )
            parts = tuple(_part(entry, size, *part) for part in found)
            yield Piece(entry=entry, offset=runs[0][0] * PAGE_BYTES, parts=parts)


def _pieces_of(entry: Entry) -> Iterator[tuple[int, int]]:
    """First page and number of pages of each piece of a file that has chunks; none lies in two of them."""
    for number in range(len(entry.chunks)):
        pages = pages_of(chunk_size(entry.size, number))
        for first in range(0, pages, _PIECE_PAGES):
            yield number * CHUNK_PAGES + first, min(_PIECE_PAGES, pages - first)


def _part(entry: Entry, size: int, page: int, pages: int, blob: BlobRef, at: int) -> Part:
    """Pages [page, page + pages) of a chunk of `size` bytes, which the blob has from its page `at` on."""
    start = at * PAGE_BYTES
    stop = start + min(pages * PAGE_BYTES, size - page * PAGE_BYTES)
    if stop > blob.raw_length:
        raise _too_short(entry, blob, stop)
    return Part(blob=blob, start=start, stop=stop)


def _too_short(entry: Entry, blob: BlobRef, needed: int) -> errors.SafepointError:
    return errors.RP005.error(
        f"cannot read {entry.path!r}: found blob {blob.id.hex()[:16]} of {blob.raw_length} bytes,"
        f" expected {needed} by the page map"
    )


class OpenFile:
    """A file of a backup, read at random. One thread at a time may use it and the files it came from."""

    def __init__(self, files: BackupFiles, entry: Entry) -> None:
        self._files = files
        self._entry = entry
        self._page = files.cache.read

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
        """Where bytes [offset, end) of the file lie: (blob, start, stop), none of them across the end of a page."""
        position = 0
        for blob in self._entry.blobs:
            start, stop = max(offset - position, 0), min(end - position, blob.raw_length)
            yield from ((blob, *part) for part in _by_page(start, stop))
            position += blob.raw_length
        for start, stop in _by_page(offset, end) if self._entry.chunks else ():
            blob, at = self._locate(start // PAGE_BYTES)
            within = start % PAGE_BYTES
            yield blob, at + within, at + within + stop - start

    def _slice(self, blob: BlobRef, start: int, stop: int) -> bytes:
        number, within = divmod(start, PAGE_BYTES)
        found = self._page(blob, number)[within : within + stop - start]
        if len(found) < stop - start:
            raise _too_short(self._entry, blob, stop)
        return found


def _by_page(start: int, stop: int) -> Iterator[tuple[int, int]]:
    while start < stop:
        end = min(stop, start - start % PAGE_BYTES + PAGE_BYTES)
        yield start, end
        start = end


class PageCache:
    """The pages that were read last, and the blobs that were opened last for them: a page is a small part of one."""

    def __init__(self, blobs: BlobReader, *, most_pages: int = _CACHED_PAGES, most_bytes: int = _CACHED_BYTES) -> None:
        self._blobs = blobs
        self._most_pages = most_pages
        self._most_bytes = most_bytes
        self._opened_bytes = 0
        self._opened: OrderedDict[bytes, bytes] = OrderedDict()
        self._pages: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()

    def read(self, blob: BlobRef, number: int) -> bytes:
        """Bytes of the blob from `number` x PAGE_BYTES, a page or what there is; RP004, RP005."""
        key = blob.id, number
        found = self._pages.get(key)
        if found is not None:
            self._pages.move_to_end(key)
            return found
        start = number * PAGE_BYTES
        page = self._pages[key] = self._open(blob)[start : start + PAGE_BYTES]
        if len(self._pages) > self._most_pages:
            self._pages.popitem(last=False)
        return page

    def _open(self, blob: BlobRef) -> bytes:
        found = self._opened.get(blob.id)
        if found is not None:
            self._opened.move_to_end(blob.id)
            return found
        opened = self._opened[blob.id] = self._blobs.read_blob(blob)
        self._opened_bytes += len(opened)
        while self._opened_bytes > self._most_bytes and len(self._opened) > 1:
            self._opened_bytes -= len(self._opened.popitem(last=False)[1])
        return opened


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
