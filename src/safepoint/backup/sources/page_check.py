"""Page checksums, looked at while files are taken in: torn pages told from damage.

A page whose checksum is wrong is read again, a few times with pauses: the server may just have been writing it. When
it then holds, or when its LSN lies beyond the backup's start, WAL mends it. Otherwise it is damage: it is recorded, and
taken as it is, for nobody else may have more of it. Only relations of clusters with checksums and pages of 8,192 bytes
are looked at.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from safepoint.kernel import PAGE_BYTES
from safepoint.model.backup import DamagedPage
from safepoint.model.lsn import Lsn
from safepoint.postgres.page_checksum import bad_pages
from safepoint.postgres.relation_path import relation_file

ATTEMPTS = 5
PAUSE_SECONDS = 0.1
_PATIENT_UP_TO = 100
"""Beyond so many damaged pages there is no doubt left that is worth a pause."""

_LSN_BYTES = 8


@dataclass(slots=True, kw_only=True)
class PageCheck:
    """The check of one backup that starts at `start`; called in any thread. `damage` says what was found.

    `segment_blocks` is how many blocks a relation's file holds at most.
    """

    start: Lsn
    segment_blocks: int
    pause: Callable[[float], None] = time.sleep
    _suspects: dict[tuple[str, int], Lsn] = field(default_factory=dict[tuple[str, int], Lsn])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def inspector(self, path: str, source: str) -> Callable[[memoryview, int], None] | None:
        """What looks at bytes of this file; None for files without checksums."""
        file = relation_file(path)
        if file is None:
            return None
        first = file.segment * self.segment_blocks
        return lambda data, offset: self._inspect(data, offset, path, source, first)

    def damage(self, end: Lsn) -> tuple[DamagedPage, ...]:
        """The pages that are damaged, in the order of their paths; `end` is beyond any page's LSN when it was read."""
        with self._lock:
            damaged = [place for place, lsn in self._suspects.items() if lsn <= self.start or lsn > end]
        return tuple(DamagedPage(path=path, block=block) for path, block in sorted(damaged))

    def _inspect(self, data: memoryview, offset: int, path: str, source: str, first: int) -> None:
        whole = len(data) - len(data) % PAGE_BYTES
        if not whole:
            return
        suspects = bad_pages(data[:whole], first + offset // PAGE_BYTES, start_lsn=None)
        if suspects:
            self._read_again(suspects, path, source, first)

    def _read_again(self, suspects: tuple[int, ...], path: str, source: str, first: int) -> None:
        """Those that stay bad are remembered with their LSN: what lies beyond the end is known only then."""
        left = {block: Lsn(0) for block in suspects}
        for attempt in range(ATTEMPTS):
            if attempt and len(self._suspects) < _PATIENT_UP_TO:
                self.pause(PAUSE_SECONDS)
            left = _still_bad(left, source, first)
            if not left:
                return
        with self._lock:
            self._suspects |= {(path, block): lsn for block, lsn in left.items()}


def _still_bad(blocks: dict[int, Lsn], source: str, first: int) -> dict[int, Lsn]:
    """The blocks whose checksum is wrong still, with their LSNs. A file that has vanished or shrunk has none."""
    try:
        descriptor = os.open(source, os.O_RDONLY)
    except FileNotFoundError:
        return {}
    try:
        found: dict[int, Lsn] = {}
        for block in blocks:
            page = os.pread(descriptor, PAGE_BYTES, (block - first) * PAGE_BYTES)
            if len(page) == PAGE_BYTES and bad_pages(page, block, start_lsn=None):
                found[block] = _lsn_of(page)
        return found
    finally:
        os.close(descriptor)


def _lsn_of(page: bytes) -> Lsn:
    """pd_lsn: two words, the higher one first (src/include/storage/bufpage.h)."""
    high, low = int.from_bytes(page[:4], "little"), int.from_bytes(page[4:_LSN_BYTES], "little")
    return Lsn(high << 32 | low)
