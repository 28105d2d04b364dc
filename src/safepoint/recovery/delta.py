"""Writing a backup over what a directory holds already: only pages that differ are fetched, and written in place.

Every byte there is read and compared by a keyed fingerprint of 64 bits a page, small files by their blobs' keyed ids.
Where these agree the page is trusted to be the backup's, wrongly with a probability of 2^-64; what the page cache
holds counts as what stands there. The manifest's checksums are of the bytes that were compared or written.

Nothing is remembered: killed anywhere and called again, it compares again. However far comparing runs ahead of
writing, files are open only while a stretch of them is read or written.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from safepoint.files import write_all, write_past_cache
from safepoint.kernel import PAGE_BYTES, crc32c
from safepoint.recovery.backup_manifest import ManifestMaker
from safepoint.recovery.comparing import Compared, StretchComparer, opened
from safepoint.recovery.file_checksum import FileChecksum
from safepoint.recovery.file_writer import FileWriter
from safepoint.recovery.places import FILE_MODE, PERMISSIONS, Places, remove, set_mode
from safepoint.recovery.whole_files import TELL_EVERY, make_empty
from safepoint.repository import BackupFiles, Comparison, Entry, EntryKind, PageRuns

_LARGE_BYTES = 1024 * 1024

_Take = Callable[[bytes | memoryview], None]


def write_differing(
    files: BackupFiles,
    comparison: Comparison,
    entries: Iterable[Entry],
    places: Places,
    made: ManifestMaker,
    tell: Callable[[int], None],
) -> int:
    """The files and directories stand there as the backup has them, and in the manifest; how many bytes were fetched.

    What is no file or directory of the backup is gone from its places. Nothing is durable yet. OSError; RP004, RP005.
    """
    fetched = 0
    with FileWriter() as writer, StretchComparer[_File](comparison) as comparer:
        delta = _Delta(files, comparison, comparer, writer, places, _Done(made, tell))
        for _, data in files.read_pages(delta.wanted(entries)):
            delta.takers.popleft()(data)
            fetched += len(data)
            delta.done.add_bytes(len(data))
    delta.done.tell()
    return fetched


class _Done:
    """The files that are complete, and how many bytes are."""

    def __init__(self, made: ManifestMaker, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._bytes = self._told = 0
        self.add_file = made.add

    def add_bytes(self, count: int) -> None:
        """So many more bytes stand there."""
        self._bytes += count
        if self._bytes - self._told >= TELL_EVERY:
            self.tell()

    def tell(self) -> None:
        """How many there are."""
        self._told = self._bytes
        self._tell(self._bytes)


@dataclass(slots=True, kw_only=True)
class _File:
    """A file of the backup, and where it stands."""

    entry: Entry
    name: str
    path: str
    checksum: FileChecksum = field(default_factory=FileChecksum)

    @property
    def mode(self) -> int:
        return self.entry.mode & PERMISSIONS | FILE_MODE


class _Delta:
    """Decides what is wanted, far ahead of the bytes' arrival; `takers` says what is done with them, in order."""

    def __init__(
        self,
        files: BackupFiles,
        comparison: Comparison,
        comparer: StretchComparer[_File],
        writer: FileWriter,
        places: Places,
        done: _Done,
    ) -> None:
        self._files = files
        self._comparison = comparison
        self._comparer = comparer
        self._writer = writer
        self._places = places
        self.done = done
        self.takers: deque[_Take] = deque()

    def wanted(self, entries: Iterable[Entry]) -> Iterator[PageRuns]:
        """The pages to be fetched. What needs none is in place when the next are given."""
        for entry in entries:
            if entry.kind is EntryKind.DIRECTORY:
                self._places.make_listed(entry)
            else:
                yield from self._file(entry)
        for file, found in self._comparer.rest():
            yield from self._differing(file, found)

    def _file(self, entry: Entry) -> Iterator[PageRuns]:
        name = self._places.name_of(entry.path)
        self._places.make_parent(name)
        file = _File(entry=entry, name=name, path=self._places.path_of(name))
        status = _own_file(file.path)
        if status is None or (not entry.chunks and not self._is_same(file, status)):
            yield from self._whole(file)
            return
        set_mode(file.path, file.mode, status)
        if entry.chunks:
            yield from self._compare(file, status)

    def _is_same(self, file: _File, status: os.stat_result) -> bool:
        """Whether the small file is what the backup has; counted as done then."""
        if status.st_size != file.entry.size:
            return False
        with opened(file.path, os.O_RDONLY) as descriptor:
            content = os.read(descriptor, file.entry.size + 1)
        if not self._comparison.is_content(content, file.entry.blobs):
            return False
        self._complete(file, crc32c(content))
        self.done.add_bytes(len(content))
        return True

    def _whole(self, file: _File) -> Iterator[PageRuns]:
        """The file is written anew."""
        remove(file.path)
        if not file.entry.size:
            make_empty(file.path, file.mode)
            self._complete(file, 0)
            return
        for pages in self._files.all_pages(file.entry):
            self.takers.append(lambda data: self._append(file, data))
            yield pages

    def _append(self, file: _File, data: bytes | memoryview) -> None:
        if not file.checksum.length:
            self._writer.begin(file.path, file.mode)
        self._writer.write(data)
        file.checksum.length += len(data)
        if file.checksum.length == file.entry.size:
            self._complete(file, self._writer.end())

    def _compare(self, file: _File, status: os.stat_result) -> Iterator[PageRuns]:
        size = file.entry.size
        if status.st_size > size:
            os.truncate(file.path, size)
        for first, known in self._files.fingerprints(file.entry):
            for other, found in self._comparer.submit(file, file.path, size, first, known):
                yield from self._differing(other, found)

    def _differing(self, file: _File, found: Compared) -> Iterator[PageRuns]:
        """What was found of one stretch of a file."""
        for length, checksum in found.lengths:
            file.checksum.add(length, checksum)
            self.done.add_bytes(length if checksum is not None else 0)
        self._complete_if_known(file)
        if found.differing:
            self.takers.append(lambda data: self._patch(file, found.differing, data))
            yield PageRuns(entry=file.entry, runs=found.differing)

    def _patch(self, file: _File, runs: Iterable[tuple[int, int]], data: bytes | memoryview) -> None:
        """The pages of these runs are written in their places."""
        rest = memoryview(data)
        with opened(file.path, os.O_WRONLY) as descriptor:
            for first, pages in runs:
                part, rest = rest[: pages * PAGE_BYTES], rest[pages * PAGE_BYTES :]
                os.lseek(descriptor, first * PAGE_BYTES, os.SEEK_SET)
                write = write_past_cache if len(part) >= _LARGE_BYTES else write_all
                write(descriptor, part)
                file.checksum.fill(len(part), crc32c(part))
        self._complete_if_known(file)

    def _complete_if_known(self, file: _File) -> None:
        value = file.checksum.value
        if value is not None and file.checksum.length == file.entry.size:
            self._complete(file, value)

    def _complete(self, file: _File, checksum: int) -> None:
        self.done.add_file(file.name, file.entry.size, checksum)


def _own_file(path: str) -> os.stat_result | None:
    """Of a plain file that has no other name: writing to it changes nothing elsewhere."""
    with suppress(FileNotFoundError):
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            return status
    return None
