"""How fast a backup may read: a bucket that fills at the rate and holds one second of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class RateLimit:
    """Keeps what is read at `bytes_per_second`, on average over a second; None: as fast as it goes. For any threads."""

    def __init__(
        self,
        bytes_per_second: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if bytes_per_second is not None and bytes_per_second <= 0:
            raise ValueError(f"found a rate of {bytes_per_second} bytes a second, expected more than 0")
        self._rate = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._credit = float(bytes_per_second or 0)
        self._seen_at = clock()
        self._lock = threading.Lock()

    def spent(self, count: int) -> None:
        """That many bytes were read: returns when the next may be."""
        if self._rate is None:
            return
        with self._lock:
            now = self._clock()
            self._credit = min(self._credit + (now - self._seen_at) * self._rate, self._rate) - count
            self._seen_at = now
            owed = -self._credit / self._rate
        if owed > 0:
            self._sleep(owed)
