"""Where everything of one backup that is taken in comes together: workers, what is stored, and the chunks being made.

What is given to workers is finished in the order in which it was given. Memory is bounded by the work in flight and
the packs being filled.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from safepoint.buffers import Buffers
from safepoint.model.backup import BlobRef
from safepoint.repository.maps.chunk import ChunkUpdate, ParentChunk, read_parent_chunk
from safepoint.repository.maps.examine import Batch, Examined, Patch, examine
from safepoint.repository.maps.files import BackupFiles
from safepoint.repository.maps.listing import Chunk, Entry, EntryKind
from safepoint.repository.maps.nodes import NodeWriter
from safepoint.repository.maps.shape import CHUNK_BYTES, GROUP_PAGES, PAGE_BYTES, chunk_size
from safepoint.repository.packs.pack import BlobKind, blob_id
from safepoint.repository.packs.writer import PackWriter

Inspect = Callable[[memoryview, int], None]
"""Looks at bytes of a file, which begin at this offset, before they are stored; called in any thread."""

BATCH_BYTES = 2 * 1024 * 1024
_IN_FLIGHT_BYTES = 8 * BATCH_BYTES
_PATCH_PAGES = GROUP_PAGES
_DONE: Future[None] = Future()
_DONE.set_result(None)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class IngestKeys:
    """What names blobs, and what fingerprints are made with."""

    blob_ids: bytes
    fingerprints: bytes


class Intake:
    """Stores what files of one backup are made of, and keeps its entries. One thread at a time may use it."""

    def __init__(
        self, writer: PackWriter, keys: IngestKeys, parent: BackupFiles | None, renew: Callable[[], None]
    ) -> None:
        self.writer = writer
        self.keys = keys
        self.parent = parent
        self.buffers = Buffers(BATCH_BYTES)
        self.nodes = NodeWriter(lambda data: writer.put_blob(data, kind=BlobKind.NODE))
        self.entries: dict[str, Entry] = {}
        self._renew = renew
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="safepoint-ingest")
        self._work: deque[tuple[Future[Any], Callable[[Any], None], int]] = deque()
        self._work_bytes = 0

    def stop(self) -> None:
        """No worker is at work any more; what was not begun is not done."""
        self._pool.shutdown(wait=True, cancel_futures=True)

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
        self.require_new(entry.path)
        self._renew()
        self.entries[entry.path] = entry

    def add_small(self, path: str, mode: int, data: bytes, parent: Entry | None, inspect: Inspect | None) -> None:
        """The backup has this file of at most INLINE_BYTES, stored here and now.

        Measured: workers, who give the interpreter back and forth at each of many short calls, take twice as long.
        """
        self.require_new(path)
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
        if self.parent is not None and parent is not None and number < len(parent.chunks):
            size = chunk_size(parent.size, number)
            before = read_parent_chunk(self.parent.nodes, parent.chunks[number], size)
        return OpenChunk(self, number, before)

    def write_chunk(self, update: ChunkUpdate, size: int) -> Chunk:
        """The nodes of a chunk of `size` bytes are with the writer."""
        return update.write(self.nodes, size)

    def require_new(self, path: str) -> None:
        """ValueError when the backup has an entry of this path."""
        if path in self.entries:
            raise ValueError(f"found {path!r} twice in one backup, expected it once")

    def _finish_oldest(self) -> None:
        future, done, size = self._work.popleft()
        self._work_bytes -= size
        done(future.result())


class OpenChunk:
    """A chunk being collected: results come in the order of the file, patches leave in runs of pages."""

    def __init__(self, intake: Intake, number: int, parent: ParentChunk | None) -> None:
        self.number = number
        self._intake = intake
        self._update = ChunkUpdate(parent=parent)
        self._patches: list[Patch] = []

    def has_room_in(self, group: int) -> bool:
        """Whether this group of the chunk may be spread over one more blob."""
        return self._update.parent is not None and self._update.parent.has_room_in(group)

    def take(self, buffer: mmap.mmap, size: int, offset: int, inspect: Inspect | None) -> None:
        """The buffer's bytes, from this offset of the file, are examined, stored where they differ, and given back."""
        data, first_page = memoryview(buffer)[:size], offset % CHUNK_BYTES // PAGE_BYTES
        batch = Batch(data=data, first_page=first_page, parent=self._update.parent)
        keys, put_blob = self._intake.keys.fingerprints, self._intake.writer.put_blob

        def work() -> Examined:
            if inspect is not None:
                inspect(data, offset)
            found = examine(batch, keys, put_blob)
            self._intake.buffers.give_back(buffer)
            return found

        self._intake.submit(size, self.add, work)

    def add(self, found: Examined) -> None:
        """What was found is part of the chunk."""
        self._update.add(found.rows, found.pages, found.values)
        self._patches += found.patches
        while len(self._patches) >= _PATCH_PAGES:
            self._put_patches(_PATCH_PAGES)

    def write(self, size: int) -> Chunk:
        """The chunk of `size` bytes, after everything submitted for it was added."""
        self._put_patches(len(self._patches))
        return self._intake.write_chunk(self._update, size)

    def _put_patches(self, count: int) -> None:
        patches, self._patches = self._patches[:count], self._patches[count:]
        if patches:
            ref = self._intake.writer.put_blob(b"".join(data for _, data in patches))
            self._update.rows += [(page, 1, ref, at) for at, (page, _) in enumerate(patches)]
