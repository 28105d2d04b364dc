"""A file that is given whole: cut into batches, which workers compare with what the parent has."""

from __future__ import annotations

import mmap
import os
from dataclasses import replace
from types import TracebackType
from typing import Self

from safepoint.repository.maps.intake import BATCH_BYTES, Inspect, Intake, OpenChunk
from safepoint.repository.maps.listing import Chunk, Entry, EntryKind
from safepoint.repository.maps.shape import CHUNK_BYTES, INLINE_BYTES


class FileIngest:
    """A file being given whole."""

    def __init__(self, intake: Intake, path: str, mode: int, parent: Entry | None, inspect: Inspect | None) -> None:
        self._intake = intake
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
            self._intake.add_small(self._path, self._mode, data, self._parent, self._inspect)
        else:
            self._close_large()
        if self._buffer is not None:
            self._intake.buffers.give_back(self._buffer)
            self._buffer = None

    def _room(self) -> memoryview:
        if self._buffer is None:
            self._buffer = self._intake.buffers.take()
        return memoryview(self._buffer)[self._filled :]

    def _fill(self, count: int) -> None:
        self._filled += count
        if self._filled == BATCH_BYTES:
            self._flush()

    def _close_large(self) -> None:
        self._flush()
        self._close_chunk()
        entry = Entry(path=self._path, kind=EntryKind.FILE, mode=self._mode, size=self._taken)
        self._intake.after(lambda: self._intake.add(replace(entry, chunks=tuple(self._chunks))))

    def _flush(self) -> None:
        buffer, offset, size = self._buffer, self._taken, self._filled
        if buffer is None or not size:
            return
        self._buffer, self._filled = None, 0
        number, within = divmod(offset, CHUNK_BYTES)
        if self._open is None or within == 0:
            self._close_chunk()
            self._open = self._intake.open_chunk(self._parent, number)
        self._taken += size
        self._open.take(buffer, size, offset, self._inspect)

    def _close_chunk(self) -> None:
        if self._open is not None:
            chunk, size = self._open, self._taken - self._open.number * CHUNK_BYTES
            self._intake.after(lambda: self._chunks.append(chunk.write(size)))
