"""Marks for archived segments: fetched now and then, stored with the first segment that reaches beyond them."""

from __future__ import annotations

import threading
from collections import deque

from safepoint.backup.marks import MarkSource
from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn

_MOST_MARKS = 10_000
_SMALLEST_SEGMENT_BITS = 20
"""One mark is kept for each MB of WAL, so that each segment has one: 10 GB may wait before the first is forgotten."""


class ArchiveMarks:
    """Fetches marks from one thread; hands them out to others."""

    def __init__(self, source: MarkSource, seconds: float) -> None:
        self._source = source
        self._seconds = seconds
        self._lock = threading.Lock()
        self._marks: deque[Mark] = deque(maxlen=_MOST_MARKS)

    def up_to(self, end: Lsn) -> Mark | None:
        """The newest mark of a position up to `end`."""
        with self._lock:
            return max((mark for mark in self._marks if mark.lsn <= end), key=lambda mark: mark.clock, default=None)

    def run(self, stop: threading.Event) -> None:
        """From now on until `stop` is set. A server that does not answer gives no mark, and nothing else happens."""
        try:
            while not stop.is_set():
                mark = self._source.fetch()
                if mark is not None:
                    self._keep(mark)
                stop.wait(self._seconds)
        finally:
            self._source.close()

    def _keep(self, mark: Mark) -> None:
        with self._lock:
            if self._marks and _place(self._marks[-1].lsn) == _place(mark.lsn):
                self._marks.pop()
            self._marks.append(mark)


def _place(lsn: Lsn) -> int:
    """Which MB has the last byte before the position: the end of a segment belongs to it."""
    return (lsn.value - 1) >> _SMALLEST_SEGMENT_BITS
