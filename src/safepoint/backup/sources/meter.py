"""How many bytes were read, told as they pass and held to the rate that is allowed; from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from safepoint.backup.rate_limit import RateLimit
from safepoint.backup.sources.port import TELL_BYTES

Inspect = Callable[[memoryview, int], None]


class Meter:
    """Counts what passes. Where a rate is set, whoever reads too fast is held up here."""

    def __init__(self, limit: RateLimit, tell: Callable[[int], None]) -> None:
        self._limit = limit
        self._tell = tell
        self._done = self._told = 0
        self._lock = threading.Lock()

    def inspect(self, data: memoryview, _: int) -> None:
        """These bytes were read."""
        self.add(len(data))

    def then(self, check: Inspect) -> Inspect:
        """What counts bytes and then has them looked at."""

        def inspect(data: memoryview, offset: int) -> None:
            self.add(len(data))
            check(data, offset)

        return inspect

    def add(self, count: int) -> None:
        """That many bytes were read: told now and then, and returning when the next may be."""
        with self._lock:
            self._done += count
            self._tell_now_and_then()
        self._limit.spent(count)

    def reached(self, position: int) -> None:
        """So far the work is done, whether by reading or because nothing of it need be read."""
        with self._lock:
            self._done = max(self._done, position)
            self._tell_now_and_then()

    def finish(self) -> None:
        """All is read: told."""
        self._tell(self._done)

    def _tell_now_and_then(self) -> None:
        if self._done - self._told >= TELL_BYTES:
            self._told = self._done
            self._tell(self._done)
