"""Taking in what changed of the files of a data directory, by WAL summaries; the rest is the parent's.

A share of what is skipped is read all the same and compared. When a page has changed that no WAL tells of, summaries
of that cluster are not believed any more, and whatever this backup had skipped is read after all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from safepoint.backup.changes import BLOCK_BYTES, Pages, ReadAll, main_fork_file, new_from, pieces_in_share, reading_of
from safepoint.backup.sources.changes_known import KnownChanges, changes_since_parent
from safepoint.backup.sources.detected import Detected, detected, record_findings
from safepoint.backup.sources.port import SourceRequest
from safepoint.backup.sources.reread import Reread
from safepoint.postgres.basebackup import BackupPosition
from safepoint.postgres.wal_summaries import Doubt
from safepoint.repository import Entry, EntryKind, Ingest, Repository

Inspect = Callable[[memoryview, int], None]

SMALL_BYTES = 65536
"""Up to this size a file that changed is read whole: its pages are stored as one."""

_RUN_PAGES = 256
_NO_PAGES: NDArray[np.int64] = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFile:
    """A file of the data directory: `path` in the listing, `source` on disk; `inspect` sees all bytes that are read."""

    path: str
    source: str
    mode: int
    inspect: Inspect


def open_changed_files(request: SourceRequest, start: BackupPosition, ingest: Ingest) -> ChangedFiles | Doubt:
    """What takes in the files of a backup that begins at `start`; or why they must all be read."""
    known = changes_since_parent(request, start)
    return known if isinstance(known, Doubt) else ChangedFiles(known=known, ingest=ingest, reread=Reread(known=known))


def detected_by(changes: ChangedFiles | Doubt, repository: Repository) -> Detected:
    """What to say of it, once every file was taken; what must be read after all is read here."""
    if isinstance(changes, Doubt):
        return detected(changes)
    return detected(changes.finish(repository) or changes.known)


class _Shrunk(Exception):
    """The file ended before a page that it had when it was opened."""


@dataclass(slots=True, kw_only=True)
class ChangedFiles:
    """Takes files in by what is known of their changes; one thread at a time, as the ingest."""

    known: KnownChanges
    ingest: Ingest
    reread: Reread
    _skipped: list[DiskFile] = field(default_factory=list[DiskFile])

    def take(self, file: DiskFile) -> bool:
        """Whether the file is with the ingest; otherwise it must be read whole, and nothing was done.

        FileNotFoundError when it has vanished. Believes nothing any more once a page was found changed unawares.
        """
        parent = self.ingest.parent_entry(file.path)
        if self.reread.unexplained or parent is None or parent.kind is not EntryKind.FILE:
            return False
        descriptor = os.open(file.source, os.O_RDONLY)
        try:
            is_taken = self._take(file, parent, descriptor)
        except _Shrunk:
            return False
        finally:
            os.close(descriptor)
        if is_taken:
            self._skipped.append(file)
        return is_taken

    def finish(self, repository: Repository) -> Doubt | None:
        """All that was skipped is sound; or what was found, and then all of it has been read and is with the ingest."""
        doubt = record_findings(repository, self.reread)
        for file in self._skipped if doubt is not None else ():
            self.ingest.forget(file.path)
            with suppress(FileNotFoundError):
                self.ingest.read_file(file.path, file.source, mode=file.mode, inspect=file.inspect)
        return doubt

    def _take(self, file: DiskFile, parent: Entry, descriptor: int) -> bool:
        size = os.fstat(descriptor).st_size
        damaged = self.known.damaged.get(file.path, frozenset())
        reading = reading_of(file.path, size, parent.size, self.known.changed, distrusted=damaged)
        if isinstance(reading, ReadAll):
            return False
        numbers = reading.numbers if isinstance(reading, Pages) else _NO_PAGES
        is_same = not len(numbers) and size == parent.size
        if not is_same and (min(size, parent.size) <= SMALL_BYTES or 2 * len(numbers) * BLOCK_BYTES > size):
            return False
        self._read_share(file, parent, size, numbers, descriptor)
        if is_same and file.mode == parent.mode:
            self.ingest.unchanged(file.path)
        else:
            pages = _read_pages(descriptor, numbers, file.inspect)
            self.ingest.changed_pages(file.path, mode=file.mode, size=size, pages=pages)
        return True

    def _read_share(self, file: DiskFile, parent: Entry, size: int, named: NDArray[np.int64], descriptor: int) -> None:
        main_fork = main_fork_file(file.path)
        pages = min(size, parent.size) // BLOCK_BYTES
        if main_fork is not None:
            pages = min(pages, new_from(main_fork, parent.size, self.known.changed))
        pieces = pieces_in_share(self.known.cluster, file.path, pages, self.known.share)
        if not pieces:
            return
        before = self.ingest.parent_pages(file.path)
        for piece in pieces:
            data = _pread(descriptor, piece.start, len(piece))
            file.inspect(memoryview(data), piece.start * BLOCK_BYTES)
            among = named[(named >= piece.start) & (named < piece.stop)].tolist()
            self.reread.compare(file.path, before, piece.start, data, among, lambda page: _page_now(descriptor, page))


def _read_pages(descriptor: int, numbers: NDArray[np.int64], inspect: Inspect) -> Iterator[tuple[int, bytes]]:
    """The pages, read in runs; _Shrunk where the file ends before one."""
    for first, count in runs_of(numbers):
        data = _pread(descriptor, first, count)
        inspect(memoryview(data), first * BLOCK_BYTES)
        for at in range(count):
            yield first + at, data[at * BLOCK_BYTES : (at + 1) * BLOCK_BYTES]


def runs_of(numbers: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs of neighbours among ascending numbers as (first, count), none longer than one read."""
    if not len(numbers):
        return
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 2) != 1)
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(numbers)], strict=True):
        for at in range(start, stop, _RUN_PAGES):
            yield int(numbers[at]), min(_RUN_PAGES, stop - at)


def _pread(descriptor: int, first: int, count: int) -> bytes:
    data = os.pread(descriptor, count * BLOCK_BYTES, first * BLOCK_BYTES)
    if len(data) != count * BLOCK_BYTES:
        raise _Shrunk
    return data


def _page_now(descriptor: int, page: int) -> bytes:
    """A page of the file as it is now; b"" where it ends before."""
    data = os.pread(descriptor, BLOCK_BYTES, page * BLOCK_BYTES)
    return data if len(data) == BLOCK_BYTES else b""
