"""Clients of `obstore`: how long a request may take, and that none is made on both sides of a fork.

Every request has a deadline that grows with the bytes it moves; a download also ends when nothing comes any more.
obstore's runtime does not live on in a forked child, where even a new client hangs past its own deadlines: ST006.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from safepoint import errors
from safepoint.stores.port import Capabilities

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig
    from obstore.store import ObjectStore as Client

_LONGEST_CONNECT_SECONDS = 10

_started_in: list[int] = []
"""The process whose threads serve obstore; empty until the first call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a request may take: `base_seconds`, and the bytes it moves at `bytes_per_second`."""

    base_seconds: int = 30
    bytes_per_second: int = 512 * 1024

    def seconds_for(self, size: int) -> int:
        """Rounded up to base x a power of two, so that few clients serve all sizes."""
        seconds = self.base_seconds
        while seconds < self.base_seconds + size // self.bytes_per_second:
            seconds *= 2
        return seconds


STANDARD_DEADLINES = Deadlines()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One bucket or container at a provider.

    `place` is its URL without options. `connect(client, retry)` makes a client of obstore with these settings.
    `largest_put` is what is put in one request, in bytes.
    """

    place: str
    prefix: str
    capabilities: Capabilities
    largest_put: int
    connect: Callable[[ClientConfig, RetryConfig], Client]


class Clients:
    """Makes the clients of one bucket as they are needed, and keeps them: each has connections of its own."""

    def __init__(self, connect: Callable[[ClientConfig, RetryConfig], Client], deadlines: Deadlines) -> None:
        self._connect = connect
        self._deadlines = deadlines
        self._made: dict[tuple[int, int, bool], Client] = {}
        self._lock = threading.Lock()

    def client(self, size: int, *, repeats: int = 0, is_read: bool = False) -> Client:
        """One whose requests end in time for `size` bytes, and where it only reads, at `base_seconds` of silence.

        (A put must not end at silence: obstore's `read_timeout` counts the time of sending, too.)
        """
        _require_same_process()
        seconds = self._deadlines.seconds_for(size)
        with self._lock:
            client = self._made.get((seconds, repeats, is_read))
            if client is None:
                client = self._make(seconds, repeats, is_read=is_read)
                self._made[seconds, repeats, is_read] = client
            return client

    def _make(self, seconds: int, repeats: int, *, is_read: bool) -> Client:
        base = self._deadlines.base_seconds
        options: ClientConfig = {
            "timeout": timedelta(seconds=seconds),
            "connect_timeout": timedelta(seconds=min(_LONGEST_CONNECT_SECONDS, base)),
            "user_agent": "safepoint",
        }
        if is_read:
            options["read_timeout"] = timedelta(seconds=base)
        retry_timeout = timedelta(seconds=seconds * (repeats + 1))
        return self._connect(options, {"max_retries": repeats, "retry_timeout": retry_timeout})


def _require_same_process() -> None:
    if not _started_in:
        _started_in.append(os.getpid())
    if _started_in[0] != os.getpid():
        raise errors.ST006.error(
            f"found process {os.getpid()} using an object store that process {_started_in[0]} used before it forked, "
            "expected a process of its own",
            hints=[errors.run("start workers by `spawn` or as commands, not by fork")],
        )
