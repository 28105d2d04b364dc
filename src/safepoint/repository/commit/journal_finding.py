"""What an audit of the journal can find, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """What a finding says of the repository."""

    DAMAGED = "damaged"
    """Something that was stored is gone or was replaced."""
    UNKNOWN = "unknown"
    """Part of the journal is hidden: what it said cannot be told, so nothing it could cover may be called whole."""
    NOTICE = "notice"
    """Nothing is lost by it; somebody should know."""


class FindingKind(Enum):
    """What is not as the journal says."""

    MISSING_LINK = "missing link"
    CUT_TAIL = "cut tail"
    ROLLED_BACK = "rolled back"
    BROKEN_CHAIN = "broken chain"
    WRONG_SIGNATURE = "wrong signature"
    REPLACED_ENTRY = "replaced entry"
    UNREADABLE_ENTRY = "unreadable entry"
    UNKNOWN_EVENT = "unknown event"
    STRANGE_NAME = "strange name"
    MISSING_OBJECT = "missing object"
    REPLACED_OBJECT = "replaced object"
    MISSING_WAL = "missing wal"
    RETURNED_OBJECT = "returned object"
    OLD_KEYS = "old keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fact with both values. `objects` are the names in the store that it is about."""

    kind: FindingKind
    severity: Severity
    text: str
    objects: tuple[str, ...]
