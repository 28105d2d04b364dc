"""Which objects a verification reads: pure, by when each was verified last."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

_DEFAULT_SHARE = 1 / 14
_DAY = timedelta(days=1)

Verified = Mapping[str, datetime | None]
"""By name, every object there is, and when it was verified last; None for never."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Chooses among all objects; the first of the answer is the most urgent."""

    _choose: Callable[[Verified, datetime], list[str]]
    round: timedelta | None = None
    """Within which everything is chosen once when it is asked every day; None when that is not so."""

    def choose(self, verified: Verified, now: datetime) -> list[str]:
        """Names. What is said to have been verified more than a day from now counts as never verified."""
        believed = {name: at if at is None or at <= now + _DAY else None for name, at in verified.items()}
        return sorted(
            self._choose(believed, now),
            key=lambda name: (believed[name] or datetime.min.replace(tzinfo=now.tzinfo), name),
        )

    @classmethod
    def all(cls) -> Selection:
        """Everything."""
        return cls(lambda verified, _: list(verified))

    @classmethod
    def since(cls, age: timedelta) -> Selection:
        """What was not verified within the last `age`."""
        return cls(lambda verified, now: [name for name, at in verified.items() if at is None or at < now - age])

    @classmethod
    def sample(cls, fraction: float, source: random.Random) -> Selection:
        """A random share of everything, one object at least. ValueError unless 0 < fraction <= 1."""
        _require_share(fraction)
        return cls(lambda verified, _: source.sample(sorted(verified), math.ceil(fraction * len(verified))))

    @classmethod
    def due(cls, share: float = _DEFAULT_SHARE) -> Selection:
        """What was never verified, and the oldest `share` of the rest for each day since the last verification.

        So everything is read again within 1 / share days and the time between two runs, however often it is run.
        ValueError unless 0 < share <= 1.
        """
        _require_share(share)
        return cls(lambda verified, now: _due(verified, now, share), _DAY / share)


def _due(verified: Verified, now: datetime, share: float) -> list[str]:
    known = sorted((at, name) for name, at in verified.items() if at is not None)
    if not known:
        return list(verified)
    days = max((now - known[-1][0]) / _DAY, 0.0)
    count = min(math.ceil(share * days * len(known)), len(known))
    overdue = now - _DAY / share
    chosen = [name for number, (at, name) in enumerate(known) if number < count or at <= overdue]
    return [name for name, at in verified.items() if at is None] + chosen


def _require_share(share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"found the share {share}, expected more than 0 and at most 1")
