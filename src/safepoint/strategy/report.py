"""The strategy for machines (`--json`), and what this version does not act on although the file states it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import cast

from safepoint.model.json_value import Json
from safepoint.strategy.mistakes import dotted
from safepoint.strategy.values import (
    BackupKind,
    Platform,
    Reference,
    Schedule,
    Strategy,
)

# Patterns of keys that are validated and kept, while no verb acts on them yet; `*` is any name.
_UNUSED: tuple[tuple[str, ...], ...] = (
    ("database", "*", "instance"),
    ("database", "*", "region"),
    ("database", "*", "api"),
    ("repository", "*", "sibling_of"),
    ("tier", "*", "keep"),
    ("tier", "*", "schedule"),
    ("drill", "*"),
    ("scenario", "*", "rto"),
    ("scenario", "*", "recover"),
    ("migrate", "max_waiters"),
    ("migrate", "soak"),
    ("migrate", "contract"),
    ("migrate", "unrepresentable"),
    ("notify",),
)
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


def unused_in_this_version(strategy: Strategy) -> tuple[str, ...]:
    """What the file states and no verb acts on yet, in the order of the file; each as one would write it."""
    stated = [section for path in strategy.stated for section in _unused_sections(path)]
    return tuple(dict.fromkeys((*stated, *_unused_values(strategy))))


def strategy_to_json(strategy: Strategy) -> dict[str, Json]:
    """The whole strategy, defaults and inheritance included; secrets as references, durations as written."""
    return {
        "path": str(strategy.path),
        **{
            section: {entry.name: _json_object(entry, without="name") for entry in entries}
            for section, entries in (
                ("database", strategy.databases),
                ("repository", strategy.repositories),
                ("wal", strategy.wal),
                ("tier", strategy.tiers),
                ("drill", strategy.drills),
                ("scenario", strategy.scenarios),
            )
        },
        "migrate": _json_object(strategy.migrate),
        "notify": _json_object(strategy.notify),
    }


def duration_text(duration: timedelta) -> str:
    """The duration (zero or more, whole milliseconds) as the file writes it: `parse_duration` gives it back."""
    rest = duration // timedelta(milliseconds=1)
    text = ""
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _unused_sections(path: tuple[str, ...]) -> Iterator[str]:
    for pattern in _UNUSED:
        head = path[: len(pattern)]
        if len(head) == len(pattern) and all(wanted in {"*", part} for wanted, part in zip(pattern, head, strict=True)):
            yield dotted(head)


def _unused_values(strategy: Strategy) -> Iterator[str]:
    for database in strategy.databases:
        if database.platform is not Platform.SELF_MANAGED:
            yield f'{dotted(("database", database.name))} with platform "{database.platform.value}"'
    for tier in strategy.tiers:
        if tier.kind is not BackupKind.PHYSICAL:
            yield f'{dotted(("tier", tier.name))} with kind "{tier.kind.value}"'
        if len(tier.repositories) > 1:
            yield f"{dotted(('tier', tier.name))} in more than one repository"


def _json_object(value: object, *, without: str = "") -> dict[str, Json]:
    names = [field.name for field in fields(cast("Strategy", value)) if field.name != without]
    return {name: _json(getattr(value, name)) for name in names}


def _json(value: object) -> Json:
    match value:
        case Reference() | Schedule() | Path():
            return str(value)
        case Enum():
            return cast("str", value.value)
        case timedelta():
            return duration_text(value)
        case tuple():
            return [_json(item) for item in cast("tuple[object, ...]", value)]
        case _ if is_dataclass(value):
            return _json_object(value)
        case _:
            return cast("str | int | None", value)
