"""Pages that were to be skipped, read all the same and held against the parent's.

A difference is explained when the page changed after the backup's start (WAL from there on mends it), when only that
changed which WAL need not mention, or when it was new and is. Any other means that WAL summaries miss changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from safepoint.backup.changes import BLOCK_BYTES
from safepoint.backup.sources.changes_known import KnownChanges
from safepoint.model.lsn import Lsn
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
        for page in set(differing).difference(named):
            content = _page(data, page - first_page)
            if not self._is_explained(content, parent.read(page), lambda page=page: again(page)):
                self.unexplained.setdefault(path, []).append(page)

    def _is_explained(self, page: bytes, before: bytes, again: Callable[[], bytes | None]) -> bool:
        """A page caught while it was being written is read again before it counts."""
        found: bytes | None = page
        for attempt in range(ATTEMPTS):
            if attempt:
                self.pause(PAUSE_SECONDS)
                found = again()
            if found is None:
                return False
            if not found or self._is_like(found, before) or self._is_mended(page_lsn(found)):
                return True
        return False

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
