"""Durations and sizes as people write them, and the clock as everybody must read it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Returns an aware instant; injected wherever a decision depends on time."""

_DURATION = re.compile(r"([0-9]+)(ms|s|m|h|d|w|y)")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}
_KIBI = 1024
_LONGEST = 1000
"""Years: an instant that long ago, or ahead, can still be told."""
_DIGITS = 18


def system_clock() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


def parse_duration(text: str) -> timedelta:
    """`15m`, `1h`, `30d`, `1y` (365 days), `1h30m`; ValueError for anything else, and for more than 1000y."""
    matches = list(_DURATION.finditer(text))
    if not matches or "".join(match[0] for match in matches) != text:
        raise ValueError(f"found {text!r}, expected a duration like 15m, 1h or 30d")
    seconds = sum(int(match[1][-_DIGITS:]) * _UNITS[match[2]].total_seconds() for match in matches)
    if seconds > _LONGEST * _UNITS["y"].total_seconds() or any(len(match[1]) > _DIGITS for match in matches):
        raise ValueError(f"found {text!r}, expected a duration of at most {_LONGEST}y")
    return sum((int(match[1]) * _UNITS[match[2]] for match in matches), timedelta())


def format_duration(duration: timedelta) -> str:
    """At most two units, the largest first: `2.4s`, `3m 05s`, `2h 10m`, `3d 4h`."""
    seconds = duration.total_seconds()
    if seconds < 0:
        return f"-{format_duration(-duration)}"
    if seconds < _UNITS["m"].total_seconds():
        return f"{seconds:.1f}s"
    minutes, second = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - minutes of an hour
        return f"{minutes}m {second:02d}s"
    hours, minute = divmod(minutes, 60)
    if hours < 24:  # noqa: PLR2004 - hours of a day
        return f"{hours}h {minute:02d}m"
    return f"{hours // 24}d {hours % 24}h"


def format_bytes(count: int) -> str:
    """`812 B`, `16.0 MiB`, `4.2 GiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < _KIBI:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= _KIBI
    return f"{size:.1f} TiB"


def format_count(number: int, noun: str, plural: str = "") -> str:
    """`1 pack`, `2 packs`, `0 packs`; the plural where it is not made by an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def format_instant(instant: datetime) -> str:
    """In UTC with its zone, to the millisecond: `2026-03-01 02:10:07.250 UTC`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
