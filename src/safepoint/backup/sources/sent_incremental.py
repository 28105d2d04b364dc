"""A base backup of which the server sends changed blocks only: what it is told, and what is made of what it sends.

The server is told only of main forks that the parent has, less the share that is to be read again: of everything else
it then knows no earlier version, and sends it whole. What a file of changed blocks does not name is the parent's, but
for blocks beyond the parent's end or beyond the smallest limit: those are new and empty. (The server names all blocks
that WAL spoke of; pg_combinebackup would take a truncated block from the parent.)

Source: PostgreSQL 17 and 18, src/backend/backup/basebackup_incremental.c; src/bin/pg_combinebackup/reconstruct.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import psycopg

from safepoint import errors
from safepoint.backup.changes import BLOCK_BYTES, ReadAll, Unchanged, is_in_share, main_fork_file, new_from, reading_of
from safepoint.backup.sources.changes_known import (
    KnownChanges,
    changes_since_parent,
    damaged_pages,
    share_after,
    why_not_before,
)
from safepoint.backup.sources.port import SourceRequest
from safepoint.backup.sources.reread import Reread
from safepoint.backup.sources.sent_pages import read_page_now
from safepoint.model.backup import BackupManifest
from safepoint.postgres.basebackup import BackupPosition
from safepoint.postgres.connect import connect
from safepoint.postgres.incremental_file import IncrementalHeader
from safepoint.postgres.sent_manifest import manifest_to_upload
from safepoint.postgres.wal_summaries import Doubt, doubt_of
from safepoint.repository import EntryKind, Ingest

_EMPTY_BLOCK = bytes(BLOCK_BYTES)


def prepare_incremental(request: SourceRequest) -> Offer | Doubt:
    """What can be offered to the server; or why it is to send everything."""
    doubt = why_not_before(request)
    parent = request.parent
    if doubt is not None or parent is None:
        return doubt or Doubt("there is no parent backup to build upon")
    try:
        with connect(request.url) as connection:
            doubt = doubt_of(connection)
    except psycopg.Error as error:
        doubt = Doubt(f"the server could not be asked for WAL summaries ({' '.join(str(error).split())})")
    return doubt or Offer(request=request, parent=parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An incremental backup upon the parent, which the server may refuse."""

    request: SourceRequest
    parent: BackupManifest

    def manifest(self) -> bytes:
        """What is uploaded: the files of which changed blocks are enough."""
        share, damaged = share_after(self.parent), damaged_pages(self.parent)
        cluster = self.parent.system_identifier
        offered = (
            (entry.path, entry.size)
            for entry in self.request.repository.files(self.parent).entries()
            if entry.kind is EntryKind.FILE
            and main_fork_file(entry.path) is not None
            and entry.path not in damaged
            and not is_in_share(cluster, entry.path, share)
        )
        start = BackupPosition(lsn=self.parent.start_lsn, timeline=self.parent.timeline)
        return manifest_to_upload(offered, system_identifier=cluster, start=start, stop=self.parent.stop_lsn)

    def begun_at(self, start: BackupPosition) -> Incremental | Doubt:
        """The backup that began there, with what summaries say; or why they do not, though the server believes them."""
        known = changes_since_parent(self.request, start)
        return known if isinstance(known, Doubt) else Incremental(known=known, reread=Reread(known=known))


@dataclass(slots=True, kw_only=True)
class Incremental:
    """One incremental base backup under way."""

    known: KnownChanges
    reread: Reread

    def take(
        self,
        ingest: Ingest,
        path: str,
        mode: int,
        header: IncrementalHeader,
        blocks: Iterator[tuple[int, bytes]],
    ) -> None:
        """The file is with the ingest: the parent's, with these blocks in it. BK001 when the parent has none."""
        parent, file = ingest.parent_entry(path), main_fork_file(path)
        if parent is None or file is None or parent.kind is not EntryKind.FILE or parent.size % BLOCK_BYTES:
            raise errors.BK001.error(
                f"found changed blocks of {path}, expected it whole: the parent backup has no such file",
                changed="no backup was made",
            )
        size = header.length * BLOCK_BYTES
        new = np.arange(new_from(file, parent.size, self.known.changed), header.length, dtype=np.int64)
        empty = np.setdiff1d(new, header.blocks, assume_unique=True)
        if not len(header.blocks) and not len(empty) and (size, mode) == (parent.size, parent.mode):
            ingest.unchanged(path)
        else:
            ingest.changed_pages(path, mode=mode, size=size, pages=_merged(blocks, iter(empty.tolist())))

    def comparison_of(self, path: str, size: int, ingest: Ingest) -> Callable[[int, bytes], None] | None:
        """What holds pieces of a file, that came whole, against the parent's; None where there is nothing to compare.

        It is called with an offset and the bytes there; both are whole pages.
        """
        parent = ingest.parent_entry(path)
        if parent is None or parent.kind is not EntryKind.FILE:
            return None
        damaged = self.known.damaged.get(path, frozenset())
        reading = reading_of(path, size, parent.size, self.known.changed, distrusted=damaged)
        file = main_fork_file(path)
        if isinstance(reading, ReadAll) or file is None:
            return None
        named = np.zeros(0, np.int64) if isinstance(reading, Unchanged) else reading.numbers
        end = min(new_from(file, parent.size, self.known.changed), min(size, parent.size) // BLOCK_BYTES)
        before = ingest.parent_pages(path)

        def compare(offset: int, data: bytes) -> None:
            first = offset // BLOCK_BYTES
            count = min(len(data) // BLOCK_BYTES, end - first)
            if count > 0:
                pages = memoryview(data)[: count * BLOCK_BYTES]
                among = named[(named >= first) & (named < first + count)].tolist()
                self.reread.compare(
                    path, before, first, pages, among, lambda page: read_page_now(self.known.url, path, page)
                )

        return compare


def _merged(blocks: Iterator[tuple[int, bytes]], empty: Iterator[int]) -> Iterator[tuple[int, bytes]]:
    """Both in ascending order, the empty ones as zeros."""
    next_empty = next(empty, None)
    for number, block in blocks:
        while next_empty is not None and next_empty < number:
            yield next_empty, _EMPTY_BLOCK
            next_empty = next(empty, None)
        yield number, block
    while next_empty is not None:
        yield next_empty, _EMPTY_BLOCK
        next_empty = next(empty, None)
