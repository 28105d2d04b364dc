"""Taking in the files of one backup: what changed since its parent is stored, everything else is referred to.

Two ways in. A file that is given whole is compared page by page with its parent through fingerprints; a file of which
the caller knows the changed pages costs in proportion to them. Both end in chunks: a page map and fingerprints, whole
for what is new, changes on top of the parent's for what is not. Examining and storing run in worker threads, but for
small files; the order of things is decided in the caller's. Memory is bounded by the work in flight and the packs being
filled, plus some 500 bytes for each file of the backup and of its parent.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from safepoint.buffers import Buffers
from safepoint.model.backup import BlobRef
from safepoint.repository.maps import tree
from safepoint.repository.maps.chunk import ChunkUpdate, ParentChunk, read_parent_chunk
from safepoint.repository.maps.examine import Batch, Examined, Patch, examine
from safepoint.repository.maps.files import BackupFiles
from safepoint.repository.maps.listing import Chunk, Entry, EntryKind, key_of
from safepoint.repository.maps.named_pages import NamedPages
from safepoint.repository.maps.nodes import NodeWriter
from safepoint.repository.maps.shape import CHUNK_BYTES, GROUP_PAGES, INLINE_BYTES, PAGE_BYTES, chunk_size
from safepoint.repository.maps.tree import ParentListing
from safepoint.repository.packs.pack import BlobKind, blob_id
from safepoint.repository.packs.writer import PackWriter

Inspect = Callable[[memoryview, int], None]
"""Looks at bytes of a file, which begin at this offset, before they are stored; called in any thread."""

BATCH_BYTES = 2 * 1024 * 1024
_IN_FLIGHT_BYTES = 8 * BATCH_BYTES
_PATCH_PAGES = GROUP_PAGES
_DONE: Future[None] = Future()
_DONE.set_result(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The files of a backup, stored durably. `node_bytes` is what listing and maps added, `added_bytes` is all."""

    root: BlobRef
    files: int
    raw_bytes: int
    added_bytes: int
    node_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class IngestKeys:
    """What names blobs, and what fingerprints are made with."""

    blob_ids: bytes
    fingerprints: bytes


class Ingest:
    """Stores the files of one backup; `Repository.write_backup()` makes it. One thread at a time may use it.

    Leaving the context without `finish()` deletes, as far as possible, what was stored.
    """

    def __init__(
        self, writer: PackWriter, keys: IngestKeys, parent: BackupFiles | None, renew: Callable[[], None]
    ) -> None:
        self.writer = writer
        self._renew = renew
        self.keys = keys
        self.buffers = Buffers(BATCH_BYTES)
        self._node_writer = NodeWriter(lambda data: writer.put_blob(data, kind=BlobKind.NODE))
        self._files = parent
        self._parent = ParentListing() if parent is None else tree.read_parent(parent.nodes, parent.root)
        self._entries: dict[str, Entry] = {}
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="safepoint-ingest")
        self._work: deque[tuple[Future[Any], Callable[[Any], None], int]] = deque()
        self._work_bytes = 0
        self._is_finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        if not self._is_finished:
            self.writer.abandon()

    def directory(self, path: str, mode: int) -> None:
        """The backup has this directory."""
        self.add(Entry(path=path, kind=EntryKind.DIRECTORY, mode=mode, size=0))

    def file(self, path: str, *, mode: int, inspect: Inspect | None = None) -> FileIngest:
        """A file to be written whole, in order, and closed; what its parent has of it is not stored again."""
        self._require_new(path)
        return FileIngest(self, path, mode, self._parent.entry(path), inspect)

    def read_file(self, path: str, source: str, *, mode: int, inspect: Inspect | None = None) -> None:
        """The backup has this file as it is read at `source`, the fastest way to take one in; OSError."""
        descriptor = os.open(source, os.O_RDONLY)
        try:
            data = os.read(descriptor, INLINE_BYTES + 1)
            if len(data) <= INLINE_BYTES and not os.read(descriptor, 1):
                self.add_small(path, mode, data, self._parent.entry(path), inspect)
                return
            os.lseek(descriptor, 0, os.SEEK_SET)
            with self.file(path, mode=mode, inspect=inspect) as file:
                file.read_from(descriptor)
        finally:
            os.close(descriptor)

    def unchanged(self, path: str) -> None:
        """The backup has this file as its parent has it; KeyError when the parent has none."""
        entry = self._parent.entry(path)
        if entry is None:
            raise KeyError(path)
        self.add(entry)

    def changed_pages(self, path: str, *, mode: int, size: int, pages: Iterable[tuple[int, bytes]]) -> None:
        """The backup has this file: `pages`, in ascending order, and in all other places what its parent has.

        The last page may be short. ValueError unless every page is named that the parent does not have, or has with
        another length; and for pages out of order, beyond `size`, or not as long as they must be.
        """
        self._require_new(path)
        entry = Entry(path=path, kind=EntryKind.FILE, mode=mode, size=size)
        NamedPages(self, self._files, entry, self._parent.entry(path)).take(pages)

    def finish(self) -> Taken:
        """Everything is durable, and what it is made of can be named in a manifest."""
        self.drain()
        entries = sorted(self._entries.values(), key=lambda entry: key_of(entry.path))
        root = tree.write(self._node_writer, entries, self._parent)
        self.writer.finish()
        self._is_finished = True
        return Taken(
            root=root,
            files=sum(entry.kind is EntryKind.FILE for entry in entries),
            raw_bytes=sum(entry.size for entry in entries),
            added_bytes=self.writer.stored_bytes,
            node_bytes=self._node_writer.stored_bytes,
        )

    def submit(self, size: int, done: Callable[[Any], None], work: Callable[..., Any], *arguments: Any) -> None:
        """Has a worker do it, about `size` bytes; `done` is called with the result in the order of submission."""
        while self._work and (self._work[0][0].done() or self._work_bytes + size > _IN_FLIGHT_BYTES):
            self._finish_oldest()
        self._renew()
        self._work.append((self._pool.submit(work, *arguments), done, size))
        self._work_bytes += size

    def after(self, done: Callable[[], None]) -> None:
        """Calls it when all that was submitted before is done."""
        self._work.append((_DONE, lambda _: done(), 0))

    def drain(self) -> None:
        """Nothing is in flight any more."""
        while self._work:
            self._finish_oldest()

    def add(self, entry: Entry) -> None:
        """The backup has this entry; its content is with the writer."""
        self._require_new(entry.path)
        self._renew()
        self._entries[entry.path] = entry

    def add_small(self, path: str, mode: int, data: bytes, parent: Entry | None, inspect: Inspect | None) -> None:
        """The backup has this file of at most INLINE_BYTES, stored here and now.

        Measured: workers, who give the interpreter back and forth at each of many short calls, take twice as long.
        """
        self._require_new(path)
        if data and inspect is not None:
            inspect(memoryview(data), 0)
        blobs = (self.held_or_put(data, () if parent is None else parent.blobs),) if data else ()
        self.add(Entry(path=path, kind=EntryKind.FILE, mode=mode, size=len(data), blobs=blobs))

    def held_or_put(self, data: bytes, held: tuple[BlobRef, ...]) -> BlobRef:
        """Where the bytes lie: what the parent has in their place when it is the same, else stored."""
        if len(held) == 1 and held[0].raw_length == len(data) and blob_id(self.keys.blob_ids, data) == held[0].id:
            return held[0]
        return self.writer.put_blob(data)

    def open_chunk(self, parent: Entry | None, number: int) -> OpenChunk:
        """A chunk of a file, to be collected on top of what the parent has of it."""
        self._renew()
        before = None
        if self._files is not None and parent is not None and number < len(parent.chunks):
            size = chunk_size(parent.size, number)
            before = read_parent_chunk(self._files.nodes, parent.chunks[number], size)
        return OpenChunk(self, number, before)

    def write_chunk(self, update: ChunkUpdate, size: int) -> Chunk:
        """The nodes of a chunk of `size` bytes are with the writer."""
        return update.write(self._node_writer, size)

    def _finish_oldest(self) -> None:
        future, done, size = self._work.popleft()
        self._work_bytes -= size
        done(future.result())

    def _require_new(self, path: str) -> None:
        if path in self._entries:
            raise ValueError(f"found {path!r} twice in one backup, expected it once")


class FileIngest:
    """A file being given whole."""

    def __init__(self, ingest: Ingest, path: str, mode: int, parent: Entry | None, inspect: Inspect | None) -> None:
        self._ingest = ingest
        self._path = path
        self._mode = mode
        self._parent = parent
        self._inspect = inspect
        self._buffer: mmap.mmap | None = None
        self._filled = 0  # bytes of the buffer
        self._taken = 0  # bytes that were handed to workers
        self._open: OpenChunk | None = None
        self._chunks: list[Chunk] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes of the file. Raises what an earlier piece raised."""
        view = memoryview(data)
        while view:
            room = self._room()
            count = min(len(room), len(view))
            room[:count] = view[:count]
            self._fill(count)
            view = view[count:]

    def read_from(self, descriptor: int) -> None:
        """The next bytes of the file are those from where the descriptor stands to its end; no copy is made."""
        while count := os.readv(descriptor, [self._room()]):
            self._fill(count)

    def close(self) -> None:
        """The file is complete."""
        if self._taken == 0 and self._filled <= INLINE_BYTES:
            data = b"" if self._buffer is None else self._buffer[: self._filled]
            self._ingest.add_small(self._path, self._mode, data, self._parent, self._inspect)
        else:
            self._close_large()
        if self._buffer is not None:
            self._ingest.buffers.give_back(self._buffer)
            self._buffer = None

    def _room(self) -> memoryview:
        if self._buffer is None:
            self._buffer = self._ingest.buffers.take()
        return memoryview(self._buffer)[self._filled :]

    def _fill(self, count: int) -> None:
        self._filled += count
        if self._filled == BATCH_BYTES:
            self._flush()

    def _close_large(self) -> None:
        self._flush()
        self._close_chunk()
        entry = Entry(path=self._path, kind=EntryKind.FILE, mode=self._mode, size=self._taken)
        self._ingest.after(lambda: self._ingest.add(replace(entry, chunks=tuple(self._chunks))))

    def _flush(self) -> None:
        buffer, offset, size = self._buffer, self._taken, self._filled
        if buffer is None or not size:
            return
        self._buffer, self._filled = None, 0
        number, within = divmod(offset, CHUNK_BYTES)
        if self._open is None or within == 0:
            self._close_chunk()
            self._open = self._ingest.open_chunk(self._parent, number)
        self._taken += size
        self._open.take(buffer, size, offset, self._inspect)

    def _close_chunk(self) -> None:
        if self._open is not None:
            chunk, size = self._open, self._taken - self._open.number * CHUNK_BYTES
            self._ingest.after(lambda: self._chunks.append(chunk.write(size)))


class OpenChunk:
    """A chunk being collected: results come in the order of the file, patches leave in runs of pages."""

    def __init__(self, ingest: Ingest, number: int, parent: ParentChunk | None) -> None:
        self.number = number
        self._ingest = ingest
        self._update = ChunkUpdate(parent=parent)
        self._patches: list[Patch] = []

    def has_room_in(self, group: int) -> bool:
        """Whether this group of the chunk may be spread over one more blob."""
        return self._update.parent is not None and self._update.parent.has_room_in(group)

    def take(self, buffer: mmap.mmap, size: int, offset: int, inspect: Inspect | None) -> None:
        """The buffer's bytes, from this offset of the file, are examined, stored where they differ, and given back."""
        data, first_page = memoryview(buffer)[:size], offset % CHUNK_BYTES // PAGE_BYTES
        batch = Batch(data=data, first_page=first_page, parent=self._update.parent)
        keys, put_blob = self._ingest.keys.fingerprints, self._ingest.writer.put_blob

        def work() -> Examined:
            if inspect is not None:
                inspect(data, offset)
            found = examine(batch, keys, put_blob)
            self._ingest.buffers.give_back(buffer)
            return found

        self._ingest.submit(size, self.add, work)

    def add(self, found: Examined) -> None:
        """What was found is part of the chunk."""
        self._update.add(found.rows, found.pages, found.values)
        self._patches += found.patches
        while len(self._patches) >= _PATCH_PAGES:
            self._put_patches(_PATCH_PAGES)

    def write(self, size: int) -> Chunk:
        """The chunk of `size` bytes, after everything submitted for it was added."""
        self._put_patches(len(self._patches))
        return self._ingest.write_chunk(self._update, size)

    def _put_patches(self, count: int) -> None:
        patches, self._patches = self._patches[:count], self._patches[count:]
        if patches:
            ref = self._ingest.writer.put_blob(b"".join(data for _, data in patches))
            self._update.rows += [(page, 1, ref, at) for at, (page, _) in enumerate(patches)]
