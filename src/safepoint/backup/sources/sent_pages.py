"""Page checksums of what a server sends, looked at as it passes: torn pages told from damage.

The server looks, too, reads a page that seems torn once more, and at its end says whether pages were bad; it names the
first of each file only, and before version 17 leaves out tablespaces that lie in the data directory. So all are looked
at here. A bad page that changed after the backup's start is mended by WAL; one that had not when it was sent is asked
for again: what the server was only just writing has changed by then. Any other is damage: it is named, and taken as it
is, for nobody else may have more of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psycopg

from safepoint import errors
from safepoint.backup.changes import BLOCK_BYTES
from safepoint.kernel import Buffer
from safepoint.model.backup import DamagedPage
from safepoint.model.lsn import Lsn
from safepoint.postgres.connect import connect
from safepoint.postgres.page_checksum import bad_pages
from safepoint.postgres.page_mask import page_lsn
from safepoint.postgres.relation_path import relation_file
from safepoint.postgres.url import DatabaseUrl

PageNow = Callable[[str, int], bytes | None]
"""Reads a page of a file, counted from its beginning, as it is now: see `read_page_now`."""

_ASKED = 100
"""Beyond so many bad pages there is no doubt left that is worth a question."""

_READ = "SELECT pg_read_binary_file(%s, %s, %s, true)"


def read_page_now(url: DatabaseUrl, path: str, page: int) -> bytes | None:
    """The page on the server's disk; b"" where there is none any more, None where the server does not let us look."""
    try:
        with connect(url) as connection:
            row = connection.execute(_READ, [path, page * BLOCK_BYTES, BLOCK_BYTES]).fetchone()
    except (psycopg.Error, errors.SafepointError):
        return None
    return b"" if row is None or row[0] is None or len(row[0]) != BLOCK_BYTES else bytes(row[0])


@dataclass(slots=True, kw_only=True)
class SentPageCheck:
    """The check of one backup that starts at `start`, of a server with checksums and pages of 8,192 bytes.

    `segment_blocks` is how many blocks a relation's file holds at most. `mended`, once `damage` was asked for, are the
    pages that had been caught while they were written.
    """

    start: Lsn
    segment_blocks: int
    mended: set[DamagedPage] = field(default_factory=set[DamagedPage])
    _suspects: dict[DamagedPage, Lsn] = field(default_factory=dict[DamagedPage, Lsn])

    def inspect(self, path: str, offset: int, data: Buffer) -> None:
        """Bytes of a file, from a page's beginning on; what is no whole page is left out."""
        file = relation_file(path)
        view = memoryview(data)
        whole = len(view) - len(view) % BLOCK_BYTES
        if file is None or not whole:
            return
        first = file.segment * self.segment_blocks + offset // BLOCK_BYTES
        for block in bad_pages(view[:whole], first, start_lsn=None):
            at = (block - first) * BLOCK_BYTES
            self._suspects[DamagedPage(path=path, block=block)] = page_lsn(bytes(view[at : at + BLOCK_BYTES]))

    def each(self, path: str, blocks: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        """The same blocks, each looked at; they are numbered from the file's beginning."""
        for number, block in blocks:
            self.inspect(path, number * BLOCK_BYTES, block)
            yield number, block

    def damage(self, end: Lsn, read_now: PageNow) -> set[DamagedPage]:
        """The pages that are damaged; `end` is beyond any page's LSN when it was sent."""
        bad = {page: lsn for page, lsn in self._suspects.items() if lsn <= self.start or lsn > end}
        if len(bad) <= _ASKED:
            self.mended = {page for page in bad if self._was_torn(page, end, read_now)}
        return bad.keys() - self.mended

    def _was_torn(self, page: DamagedPage, end: Lsn, read_now: PageNow) -> bool:
        """Whether it is sound now, by a change that every restore of this backup replays: one up to its end."""
        file = relation_file(page.path)
        first = 0 if file is None else file.segment * self.segment_blocks
        found = read_now(page.path, page.block - first)
        if not found or bad_pages(found, page.block, start_lsn=None):
            return False
        return self.start < page_lsn(found) <= end
