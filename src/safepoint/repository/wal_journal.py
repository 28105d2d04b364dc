"""WAL in the journal, in batches: which ranges of complete segments this process has stored since it last said so.

A journal that lags behind hides nothing that is stored; it only cannot accuse anybody of its loss yet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from safepoint.model.lsn import Lsn, WalSegment
from safepoint.model.measures import Clock
from safepoint.repository.commit.journal_event import JournalEvent, wal_stored

_MOST_SEGMENTS = 64
_MOST_AGE = timedelta(minutes=10)


class WalJournal:
    """Collects segments and hands them on as few events. May be used from several threads."""

    def __init__(self, note: Callable[[Sequence[JournalEvent]], bool], clock: Clock) -> None:
        self._note = note
        self._clock = clock
        self._lock = threading.Lock()
        self._ranges: dict[tuple[str, str], list[tuple[Lsn, Lsn]]] = {}
        self._segments = 0
        self._since: datetime | None = None

    def note(self, cluster: str, lineage: str, segment: WalSegment) -> None:
        """The segment is stored, complete and durable. Journalled now and then; a store that fails is tried later."""
        with self._lock:
            ranges = self._ranges.setdefault((cluster, lineage), [])
            if ranges and ranges[-1][1] == segment.start:
                ranges[-1] = (ranges[-1][0], segment.end)
            else:
                ranges.append((segment.start, segment.end))
            self._segments += 1
            now = self._clock()
            self._since = self._since or now
            if self._segments < _MOST_SEGMENTS and abs(now - self._since) < _MOST_AGE:
                return
            self._since = now
        self.flush()

    def flush(self) -> None:
        """Everything noted so far is in the journal, unless the store fails: then it is tried at the next occasion."""
        with self._lock:
            ranges, self._ranges = self._ranges, {}
            self._segments = 0
        # Without the lock: nobody who stores WAL waits for the journal.
        if not self._note(_events(ranges)):
            with self._lock:
                for place, missed in ranges.items():
                    self._ranges[place] = missed + self._ranges.get(place, [])


def _events(ranges: Mapping[tuple[str, str], list[tuple[Lsn, Lsn]]]) -> list[JournalEvent]:
    return [
        wal_stored(cluster, lineage, start, end) for (cluster, lineage), found in ranges.items() for start, end in found
    ]
