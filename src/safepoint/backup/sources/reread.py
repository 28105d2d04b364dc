"""Pages that were to be skipped, read all the same and held against the parent's.

A difference is explained when the page changed after the backup's start (WAL from there on mends it), when only that
changed which WAL need not mention, when it was new and is, or when its checksum fails: that is the disk's fault, and
whoever checks pages names it. Any other means that WAL summaries miss changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from safepoint.backup.changes import BLOCK_BYTES, main_fork_file
from safepoint.backup.sources.changes_known import KnownChanges
from safepoint.model.lsn import Lsn
from safepoint.postgres.page_checksum import bad_pages
from safepoint.postgres.page_mask import is_blank, masked, page_lsn, without_cache
from safepoint.repository import ParentPages

ATTEMPTS = 3
PAUSE_SECONDS = 0.1

_NOWHERE = Lsn(0)

ReadPage = Callable[[int], bytes | None]
"""Reads a page of a file again, as it is now; b"" where there is none any more, None where that cannot be done."""


@dataclass(slots=True, kw_only=True)
class Reread:
    """The comparison of one backup. `unexplained` are pages by path, counted from the file's beginning."""

    known: KnownChanges
    pause: Callable[[float], None] = time.sleep
    unexplained: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    _written: Lsn = field(default=_NOWHERE)

    def compare(
        self,
        path: str,
        parent: ParentPages,
        first_page: int,
        data: bytes | memoryview,
        named: Iterable[int],
        again: ReadPage,
    ) -> None:
        """`data` is whole pages of the file from `first_page` on; those `named` are known to have changed."""
        differing = parent.differing(first_page, data)
        file = main_fork_file(path)
        first_block = 0 if file is None else file.first_block
        for page in set(differing).difference(named):
            content = _page(data, page - first_page)
            found = self._unexplained(content, parent.read(page), lambda page=page: again(page))
            if found is not None and not self._is_damaged(found, first_block + page):
                self.unexplained.setdefault(path, []).append(page)

    def _unexplained(self, page: bytes, before: bytes, again: Callable[[], bytes | None]) -> bytes | None:
        """None, or the page that is to be explained: one caught while it was written is read again before it counts."""
        for attempt in range(ATTEMPTS):
            if attempt:
                self.pause(PAUSE_SECONDS)
                found = again()
                if found is None:
                    return page
                page = found
            if not page or self._is_like(page, before) or self._is_mended(page_lsn(page)):
                return None
        return page

    def _is_damaged(self, page: bytes, block: int) -> bool:
        return self.known.has_checksums and bool(bad_pages(page, block, start_lsn=None))

    def _is_like(self, page: bytes, before: bytes) -> bool:
        """Whether the pages say the same, as far as WAL has to tell."""
        if without_cache(page) == without_cache(before) or (is_blank(page) and is_blank(before)):
            return True
        return not self.known.are_hints_logged and masked(page) == masked(before)

    def _is_mended(self, lsn: Lsn) -> bool:
        """Whether WAL from the backup's start on changed the page: an LSN that lies in WAL that there is."""
        if lsn < self.known.start:
            return False
        if lsn > self._written:
            self._written = self.known.written_up_to()
        return lsn <= self._written


def _page(data: bytes | memoryview, at: int) -> bytes:
    return bytes(data[at * BLOCK_BYTES : (at + 1) * BLOCK_BYTES])
