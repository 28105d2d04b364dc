"""Files as a server sends them, given to the ingest: whole ones, and changed blocks of those that the parent has.

Each page is looked at as it passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from safepoint.backup.rate_limit import RateLimit
from safepoint.backup.sources.meter import Meter
from safepoint.backup.sources.sent_incremental import Incremental
from safepoint.backup.sources.sent_pages import SentPageCheck
from safepoint.kernel import crc32c
from safepoint.postgres.incremental_file import path_of, read_blocks, read_header
from safepoint.postgres.sent_manifest import SentFiles
from safepoint.postgres.tar_stream import ByteStream, EntryKind, TarEntry
from safepoint.repository import Ingest

BACKUP_LABEL = "backup_label"
_INCREMENTAL = b"INCREMENTAL FROM "


@dataclass(slots=True, kw_only=True)
class SentFileTaker:
    """Takes in one entry after another. `paths` are those it gave to the ingest, `sent` is what came."""

    ingest: Ingest
    limit: RateLimit
    tell: Callable[[int], None]
    changes: Incremental | None
    check: SentPageCheck | None = None
    paths: list[str] = field(default_factory=list[str])
    sent: SentFiles = field(default_factory=SentFiles)
    _meter: Meter = field(init=False)

    def __post_init__(self) -> None:
        self._meter = Meter(self.limit, self.tell)

    def take(self, entry: TarEntry, pieces: Iterator[bytes]) -> None:
        """The entry is with the ingest; all its pieces are read."""
        if entry.kind is EntryKind.DIRECTORY:
            self._take_directory(entry)
            return
        counted = _Counted(pieces, self._meter)
        path = path_of(entry.path)
        if entry.path == BACKUP_LABEL:
            self._take_label(entry, counted)
        elif path is not None and self.changes is not None:
            self._take_blocks(self.changes, path, entry, counted)
        else:
            self._take_whole(entry, counted)
        self.sent.add(entry.path, counted.size, counted.crc)

    def finish(self) -> None:
        """All that came is told."""
        self._meter.finish()

    def _take_directory(self, entry: TarEntry) -> None:
        if entry.path:
            self.ingest.directory(entry.path, entry.mode)
            self.paths.append(entry.path)

    def _take_label(self, entry: TarEntry, pieces: _Counted) -> None:
        """Without what keeps a server from starting on an incremental backup: what is stored is whole."""
        lines = b"".join(pieces).splitlines(keepends=True)
        with self.ingest.file(entry.path, mode=entry.mode) as file:
            file.write(b"".join(line for line in lines if not line.startswith(_INCREMENTAL)))
        self.paths.append(entry.path)

    def _take_whole(self, entry: TarEntry, pieces: _Counted) -> None:
        offset = 0
        compare = None if self.changes is None else self.changes.comparison_of(entry.path, entry.size, self.ingest)
        with self.ingest.file(entry.path, mode=entry.mode) as file:
            for piece in pieces:
                if compare is not None:
                    compare(offset, piece)
                if self.check is not None:
                    self.check.inspect(entry.path, offset, piece)
                file.write(piece)
                offset += len(piece)
        self.paths.append(entry.path)

    def _take_blocks(self, changes: Incremental, path: str, entry: TarEntry, pieces: _Counted) -> None:
        stream = ByteStream(lambda: next(pieces, b""))
        header = read_header(stream, entry.path)
        blocks = read_blocks(stream, header, entry.path)
        if self.check is not None:
            blocks = self.check.each(path, blocks)
        changes.take(self.ingest, path, entry.mode, header, blocks)
        while stream.read(1 << 16):
            pass
        self.paths.append(path)


class _Counted:
    """The pieces of a file as they pass, with their number of bytes and CRC32C."""

    def __init__(self, pieces: Iterator[bytes], meter: Meter) -> None:
        self._pieces = pieces
        self._meter = meter
        self.size = 0
        self.crc = 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self.size += len(piece)
        self.crc = crc32c(piece, self.crc)
        self._meter.add(len(piece))
        return piece
