"""What an audit of the journal can find, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from blake3 import blake3

from safepoint.repository.sealing.checked_json import canonical
from safepoint.repository.severity import Severity


class JournalFindingKind(Enum):
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
    NEW_WRITER = "new writer"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalFinding:
    """One fact with both values. `objects` are the names in the store that it is about."""

    kind: JournalFindingKind
    severity: Severity
    text: str
    objects: tuple[str, ...]
    facts: tuple[str, ...] = ()
    """What makes it this finding and no other: writers, sequences, digests, as far as they are known."""
    is_acknowledged: bool = False

    @property
    def identity(self) -> str:
        """Of kind, objects and facts, in hexadecimal: whatever differs in one of them is another finding."""
        said = [self.kind.value, list(self.objects), list(self.facts)]
        return blake3(canonical({"finding": said})).hexdigest()
