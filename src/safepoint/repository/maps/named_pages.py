"""Taking in a file of which the caller knows the changed pages: cost in proportion to them, not to the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np

from safepoint.kernel import page_fingerprints
from safepoint.repository.maps.chunk import page_size
from safepoint.repository.maps.examine import Examined, Patch
from safepoint.repository.maps.file_ingest import FileIngest
from safepoint.repository.maps.files import OpenFile
from safepoint.repository.maps.intake import Intake, OpenChunk
from safepoint.repository.maps.listing import Chunk, Entry
from safepoint.repository.maps.shape import (
    CHUNK_PAGES,
    GROUP_PAGES,
    INLINE_BYTES,
    PAGE_BYTES,
    chunk_size,
    chunks_of,
    pages_of,
)


class NamedPages:
    """One file: the pages that are named, and in all other places what the parent has."""

    def __init__(self, intake: Intake, entry: Entry, parent: Entry | None) -> None:
        self._intake = intake
        self._entry = entry
        self._parent = parent
        self._before = None if intake.parent is None or parent is None else OpenFile(intake.parent, parent)

    def take(self, pages: Iterable[tuple[int, bytes]]) -> None:
        """The file is part of the backup; ValueError for a page that is named twice, too late, missing or too long."""
        checked = self._checked(pages)
        if self._parent is None or not self._parent.chunks or self._entry.size <= INLINE_BYTES:
            self._take_whole(checked)
        else:
            self._take_chunks(checked)

    def _take_whole(self, pages: Iterator[Patch]) -> None:
        """A file that is or was small, or is new: put together and given whole."""
        with FileIngest(self._intake, self._entry.path, self._entry.mode, self._parent, None) as file:
            end = 0
            for number, content in pages:
                self._copy(file, end, number)
                file.write(content)
                end = number + 1
            self._copy(file, end, pages_of(self._entry.size))

    def _copy(self, file: FileIngest, first: int, end: int) -> None:
        for number in range(first, end):
            file.write(self._read(number))

    def _take_chunks(self, pages: Iterator[Patch]) -> None:
        assert self._parent is not None  # noqa: S101
        chunks: list[Chunk] = []
        for number, run in groupby(pages, key=lambda page: page[0] // CHUNK_PAGES):
            self._keep(chunks, number)
            self._intake.drain()
            chunk = self._intake.open_chunk(self._parent, number)
            named: set[int] = set()
            for group, pages_of_group in groupby(run, key=lambda page: page[0] // GROUP_PAGES):
                changed = list(pages_of_group)
                named.update(page % CHUNK_PAGES for page, _ in changed)
                chunk.add(self._group(chunk, group, changed))
            self._require_new_pages(number, named)
            chunks.append(chunk.write(chunk_size(self._entry.size, number)))
        self._keep(chunks, chunks_of(self._entry.size))
        self._intake.add(replace(self._entry, chunks=tuple(chunks)))

    def _keep(self, chunks: list[Chunk], up_to: int) -> None:
        """Chunks before `up_to` of which no page is named are the parent's; none may be longer than it was."""
        assert self._parent is not None  # noqa: S101
        for number in range(len(chunks), up_to):
            found, expected = chunk_size(self._parent.size, number), chunk_size(self._entry.size, number)
            if found < expected or (found != expected and expected % PAGE_BYTES):
                raise ValueError(
                    f"found {found} bytes in chunk {number} of {self._entry.path!r} and no page named, "
                    f"expected {expected}"
                )
            chunks.append(
                self._parent.chunks[number]
                if found == expected
                else self._intake.open_chunk(self._parent, number).write(expected)
            )

    def _require_new_pages(self, number: int, named: set[int]) -> None:
        """Pages that the parent does not have, or not as long as they are now, are all named."""
        assert self._parent is not None  # noqa: S101
        before, now = chunk_size(self._parent.size, number), chunk_size(self._entry.size, number)
        first = min(before, now) // PAGE_BYTES
        for page in range(first, pages_of(now)):
            if page not in named and page_size(before, page) != page_size(now, page):
                raise ValueError(
                    f"found page {number * CHUNK_PAGES + page} of {self._entry.path!r} not named, expected it: "
                    f"the parent has {page_size(before, page)} bytes of it, the file has {page_size(now, page)}"
                )

    def _group(self, chunk: OpenChunk, group: int, changed: list[Patch]) -> Examined:
        """Patches, or the whole group when most of it changed or it is spread over too many blobs."""
        first = group * GROUP_PAGES
        count = min(GROUP_PAGES, pages_of(self._entry.size) - first)
        within = group * GROUP_PAGES % CHUNK_PAGES
        data = b"".join(content for _, content in changed)
        numbers = np.array([page % CHUNK_PAGES for page, _ in changed], dtype=np.int64)
        values = page_fingerprints(data, self._intake.keys.fingerprints)
        if 2 * len(changed) <= count and chunk.has_room_in(within // GROUP_PAGES):
            patches = [(page % CHUNK_PAGES, content) for page, content in changed]
            return Examined(rows=[], patches=patches, pages=numbers, values=values)
        ref = self._intake.writer.put_blob(self._patched(first, count, dict(changed)))
        return Examined(rows=[(within, count, ref, 0)], patches=[], pages=numbers, values=values)

    def _patched(self, first: int, count: int, changed: dict[int, bytes]) -> bytes:
        return b"".join(changed.get(page) or self._read(page) for page in range(first, first + count))

    def _read(self, page: int) -> bytes:
        """What the parent has of this page; ValueError unless it is as long as it is now."""
        expected = page_size(self._entry.size, page)
        before = 0 if self._parent is None else page_size(self._parent.size, page)
        if self._before is None or before != expected:
            raise ValueError(
                f"found page {page} of {self._entry.path!r} not named and {before} bytes of it in the parent, "
                f"expected {expected}"
            )
        return self._before.read(page * PAGE_BYTES, expected)

    def _checked(self, pages: Iterable[tuple[int, bytes]]) -> Iterator[Patch]:
        last = -1
        for page, content in pages:
            expected = page_size(self._entry.size, page)
            if page <= last or len(content) != expected or not expected:
                raise ValueError(
                    f"found page {page} of {len(content)} bytes after page {last} of {self._entry.path!r}, "
                    f"expected pages in ascending order and {expected} bytes of it"
                )
            last = page
            yield page, bytes(content)
