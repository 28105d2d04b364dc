"""The lines of the traffic's log as values. A line that does not have exactly the facts it should is `LogDamaged`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast

from .tables import NAMES

KINDS: Final = ("order", "payment", "review")
"""What a commit can be of."""


class LogDamaged(ValueError):
    """The log is not what a traffic process wrote, so nothing can be concluded from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one action of one shopper ended."""

    n: int
    shopper: str
    version: str
    at: datetime
    seconds: float
    is_success: bool

    @property
    def began(self) -> datetime:
        """When the shopper began to wait."""
        return self.at - timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit(Answer):
    """A commit: acknowledged by the server if it is a success, of unknown outcome otherwise."""

    kind: str
    table: str
    ids: dict[str, tuple[str, ...]]
    xid: int
    sent_at: datetime

    @property
    def acknowledged_at(self) -> datetime:
        """When the server's answer arrived, or when it was known that none would."""
        return self.at


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure(Answer):
    """An error: nothing was committed. SQLSTATE is None for errors that are not the server's."""

    sqlstate: str | None
    message: str


def answer_of(line: dict[str, Any]) -> Answer:
    """The value of any line but `start` and `end`; LogDamaged says what is wrong with it."""
    kind = _text(line, "kind")
    if kind in KINDS:
        return _commit(line, kind, is_success=True)
    if kind == "unknown":
        return _commit(line, _text(line, "of"), is_success=False)
    if kind == "error":
        message, sqlstate = _text(line, "message"), _optional(line, "sqlstate")
        return Failure(**_common(line, "at"), is_success=False, sqlstate=sqlstate, message=message)
    if kind == "browse":
        return Answer(**_common(line, "acknowledged_at"), is_success=True)
    raise LogDamaged(f"found kind {kind!r}, expected one of {', '.join((*KINDS, 'unknown', 'error', 'browse'))}")


def _commit(line: dict[str, Any], kind: str, *, is_success: bool) -> Commit:
    if kind not in KINDS:
        raise LogDamaged(f"found a commit of {kind!r}, expected one of {', '.join(KINDS)}")
    return Commit(
        **_common(line, "acknowledged_at" if is_success else "at"),
        is_success=is_success,
        kind=kind,
        table=_text(line, "table"),
        ids=_ids(line),
        xid=_number(line, "xid"),
        sent_at=_instant(line, "sent_at"),
    )


def _common(line: dict[str, Any], at: str) -> dict[str, Any]:
    seconds = line.get("seconds")
    if not isinstance(seconds, int | float) or seconds < 0:
        raise _wrong("seconds", seconds, "a duration")
    return {
        "n": _number(line, "n"),
        "shopper": _text(line, "shopper"),
        "version": _text(line, "version"),
        "at": _instant(line, at),
        "seconds": float(seconds),
    }


def _wrong(name: str, found: object, expected: str) -> LogDamaged:
    return LogDamaged(f"found {name} {found!r}, expected {expected}")


def _text(line: dict[str, Any], name: str) -> str:
    value = line.get(name)
    if not isinstance(value, str):
        raise _wrong(name, value, "text")
    return value


def _optional(line: dict[str, Any], name: str) -> str | None:
    return None if line.get(name) is None else _text(line, name)


def _number(line: dict[str, Any], name: str) -> int:
    value = line.get(name)
    if not isinstance(value, int):
        raise _wrong(name, value, "a number")
    return value


def _instant(line: dict[str, Any], name: str) -> datetime:
    value = _text(line, name)
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise _wrong(name, value, "an ISO 8601 instant") from None
    if instant.tzinfo is None:
        raise _wrong(name, value, "an instant with a time zone")
    return instant


def _ids(line: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    value: object = line.get("ids")
    if not isinstance(value, dict) or not value:
        raise _wrong("ids", cast("object", value), "keys by table")
    return {table: _keys(table, keys) for table, keys in cast("dict[str, object]", value).items()}


def _keys(table: str, value: object) -> tuple[str, ...]:
    keys = cast("list[object]", value) if isinstance(value, list) else []
    texts = tuple(key for key in keys if isinstance(key, str))
    if table not in NAMES or not texts or len(texts) != len(keys):
        raise _wrong(f"ids of {table}", cast("object", value), "keys, as text, of a table of the shop")
    return texts
