"""When something is due: the five fields of cron, checked one by one. Source: crontab(5), without its extensions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from safepoint.strategy.kinds import quoted
from safepoint.strategy.values import Schedule

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAYS_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ITEM = re.compile(r"(?:(?P<any>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d{1,4}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """One field: the numbers it may hold, and the names that stand for them, counted from `lowest`."""

    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        return f"{self.name} {self.lowest}-{self.highest}"

    def number(self, text: str) -> int:
        if text.lower() in self.names:
            return self.names.index(text.lower()) + self.lowest
        if not re.fullmatch(r"[0-9]{1,4}", text) or not self.lowest <= int(text) <= self.highest:
            raise ValueError(f'found "{text}" in the field of the {self.name}, expected {self.expected}')
        return int(text)

    def numbers(self, item: str) -> set[int]:
        """What one item of a list matches."""
        match = _ITEM.fullmatch(item)
        if match is None or (match["step"] and not int(match["step"])) or (match["step"] and not _is_range(match)):
            raise ValueError(
                f'found "{item}" in the field of the {self.name}, expected *, a number, a range like 1-5, or */15'
            )
        first = self.lowest if match["any"] else self.number(match["first"])
        last = self.highest if match["any"] else self.number(match["last"] or match["first"])
        if first > last:
            raise ValueError(f'found "{item}" in the field of the {self.name}, expected a range that ascends')
        return set(range(first, last + 1, int(match["step"] or 1)))


_FIELDS = (
    _Field(name="minute", lowest=0, highest=59),
    _Field(name="hour", lowest=0, highest=23),
    _Field(name="day of month", lowest=1, highest=31),
    _Field(name="month", lowest=1, highest=12, names=_MONTHS),
    _Field(name="day of week", lowest=0, highest=7, names=_WEEKDAYS),
)


def schedule(text: str) -> Schedule:
    """The schedule; ValueError that names the first wrong field, or a day that no year has."""
    words = text.split()
    if len(words) != len(_FIELDS):
        raise ValueError(
            f"found {quoted(text)} with {len(words)} fields, expected five: minute hour day-of-month month day-of-week"
        )
    matched = [_matched(known, word) for known, word in zip(_FIELDS, words, strict=True)]
    _, _, days, months, _ = matched
    if words[4] == "*" and min(days) > max(_DAYS_OF_MONTH[month - 1] for month in months):
        raise ValueError(f"found {quoted(text)}, expected a day that exists: no such month has a day {min(days)}")
    return Schedule(text=" ".join(words))


def _matched(known: _Field, word: str) -> set[int]:
    return {number for item in word.split(",") for number in known.numbers(item)}


def _is_range(match: re.Match[str]) -> bool:
    return bool(match["any"] or match["last"])
