"""Segments pushed before PostgreSQL asks for them: in its order, a bounded number at once, forgotten when they fail.

What is remembered of a file is that it was pushed, never that it may be acknowledged.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from safepoint.backup.archive.archive import WalArchive
from safepoint.backup.archive.wal_buffers import WalBuffers
from safepoint.errors import SafepointError

MOST_AHEAD = 16
"""Files pushed and not yet asked for: what is at hand when PostgreSQL asks for one after the other."""

_LISTED_SECONDS = 1.0
"""A backlog may be tens of thousands of files long: it is not listed again for each of them."""

_PAUSE_SECONDS = 5.0
"""How long nothing is pushed ahead after a failure; what PostgreSQL asks for is tried at once all the same."""


class AheadOfRequests:
    """Pushes what is ready in pg_wal, by `jobs` threads."""

    def __init__(
        self, archive: WalArchive, jobs: int, buffers: WalBuffers, troubled: Callable[[SafepointError], None]
    ) -> None:
        self._archive = archive
        self._buffers = buffers
        self._troubled = troubled
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="push")
        self._lock = threading.Lock()
        self._pushed: dict[str, Future[bool]] = {}
        self._answered: set[str] = set()
        self._ready: deque[str] = deque()
        self._not_before = self._list_after = 0.0

    def look(self) -> None:
        """The next files that are ready are being pushed, up to `MOST_AHEAD` that nobody has asked for."""
        if time.monotonic() < self._not_before:
            return
        with self._lock:
            if len(self._ready) < MOST_AHEAD or time.monotonic() >= self._list_after:
                self._list()
            while self._ready and len(self._pushed) < MOST_AHEAD:
                name = self._ready.popleft()
                if name not in self._answered:
                    self._pushed[name] = self._pool.submit(self._push, name)

    def pushed(self, name: str) -> Future[bool] | None:
        """The push of this file, at work or ended; None when there was none."""
        with self._lock:
            return self._pushed.get(name)

    def answered(self, name: str) -> None:
        """It was asked for and acknowledged: nothing is pushed ahead for it again, unless it becomes ready anew."""
        with self._lock:
            self._answered.add(name)
            self._pushed.pop(name, None)

    def _list(self) -> None:
        """What is ready and not being pushed is known; what is no longer ready is forgotten."""
        ready = self._archive.data.ready()
        # PostgreSQL no longer waits for it, or does so for the blink until it has noted the answer.
        self._answered &= set(ready)
        for name in self._pushed.keys() - set(ready):
            if self._pushed[name].done():
                del self._pushed[name]
        self._ready = deque(name for name in ready if name not in self._pushed)
        self._list_after = time.monotonic() + _LISTED_SECONDS

    def _forget(self, name: str) -> None:
        with self._lock:
            self._pushed.pop(name, None)

    def close(self) -> None:
        """What is being pushed is waited for; what was not begun is dropped."""
        self._pool.shutdown(cancel_futures=True)

    def _push(self, name: str) -> bool:
        """Whether the file is in every required repository."""
        try:
            with self._archive.data.open(name) as file, self._buffers.content(file.fileno()) as content:
                self._archive.push(name, content)
        except (SafepointError, OSError) as error:
            self._not_before = time.monotonic() + _PAUSE_SECONDS
            self._forget(name)
            if isinstance(error, SafepointError):
                self._troubled(error)
            return False
        return True
