"""When a server that keeps WAL for us will have no room for it: its rate against what it may hold. Pure.

Invariant: an estimate is made of measured rates and known limits only; where either is unknown there is none.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta

from safepoint.model.measures import format_bytes, format_duration

_WINDOW_SECONDS = 300.0
_LEAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """`kept` bytes of WAL wait for us, growing by `rate` bytes a second; the server gives up at `limit` (None: never).

    `limit_name` says whose limit it is.
    """

    kept: int
    rate: float | None
    limit: int | None
    limit_name: str = ""

    @property
    def time_left(self) -> timedelta | None:
        """Until the limit is reached at this rate; None when it is not, or nobody knows."""
        if self.limit is None or not self.rate:
            return None
        return timedelta(seconds=min(max(0.0, (self.limit - self.kept) / self.rate), 1e9))

    def __str__(self) -> str:
        told = f"the server keeps {format_bytes(max(0, self.kept))} of WAL for it"
        if self.rate is not None:
            told += f", {format_bytes(round(self.rate))} more each second"
        if self.limit is None:
            return f"{told}; its disk is the limit, and how much is free there is not known here"
        left = self.time_left
        when = "not reached at this rate" if left is None else f"reached in {format_duration(left)} at this rate"
        return f"{told}; {self.limit_name} of {format_bytes(self.limit)} is {when}"


@dataclass(slots=True)
class Rate:
    """How fast a position moves, over the last five minutes."""

    _seen: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])

    def note(self, now: float, position: int) -> None:
        """The position at `now`, seconds of a clock that never goes back."""
        if self._seen and now - self._seen[-1][0] < _LEAST_SECONDS:
            return
        self._seen.append((now, position))
        while now - self._seen[0][0] > _WINDOW_SECONDS:
            self._seen.popleft()

    @property
    def bytes_per_second(self) -> float | None:
        """None until it was seen for a while."""
        if len(self._seen) < 2:  # noqa: PLR2004 - a rate needs two
            return None
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        return max(0.0, (last - first) / (ended - began))
