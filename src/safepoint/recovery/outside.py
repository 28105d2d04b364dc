"""Where configuration from outside the data directory goes in a copy: beside production's other configuration. Pure.

A backup lists such a file as `safepoint.outside/<n>-<name>`; a copy has it as `production-config/<name>`, with its
number where that name is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from safepoint.recovery.configuration import PRODUCTION

OUTSIDE = "safepoint.outside"

_NUMBERED = re.compile(r"\d+-(?=[^.])")


class OutsidePlaces:
    """Gives each file one place, in the order in which they are asked for; `is_listed` tells of the backup's paths."""

    def __init__(self, is_listed: Callable[[str], bool]) -> None:
        self._is_listed = is_listed
        self._given: dict[str, str] = {}
        self._taken: set[str] = set()

    def of(self, path: str) -> str:
        """The path in the copy of what the backup lists under this one; others are as they are listed."""
        top, _, rest = path.partition("/")
        if top != OUTSIDE:
            return path
        if not rest:
            return PRODUCTION
        if path not in self._given:
            self._given[path] = self._free(rest)
        return self._given[path]

    def _free(self, rest: str) -> str:
        place = f"{PRODUCTION}/{_NUMBERED.sub('', rest, count=1) if _NUMBERED.match(rest) else rest}"
        number = 0
        while place in self._taken or self._is_listed(place):
            place = f"{PRODUCTION}/{rest}" + (f".{number}" if number else "")
            number += 1
        self._taken.add(place)
        return place
