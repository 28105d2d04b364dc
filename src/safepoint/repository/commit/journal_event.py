"""What a writer tells in the journal, as values: the events of an entry, and how each is spelt in it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from safepoint.model.json_value import Json
from safepoint.model.lsn import Lsn
from safepoint.repository.names import wal_folder

_WORDS = ("finding", "by", "reason")


class EventKind(Enum):
    """What a writer did. Things appear before their event is journalled and vanish after it."""

    BACKUP = "backup"
    EXPIRED = "expired"
    WAL = "wal"
    WAL_EXPIRED = "wal-expired"
    RECORD = "record"
    INDEX = "index"
    KEY = "key"
    COLLECTED = "collected"
    SUCCEEDS = "succeeds"
    ACKNOWLEDGED = "acknowledged"


class KeyChange(Enum):
    """What happened to the keys."""

    ADDED = "added"
    REMOVED = "removed"
    ROTATED = "rotated"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEvent:
    """One thing done; the functions below make them. `name` is an object's, or of WAL the folder of its timeline."""

    kind: EventKind
    name: str = ""
    digest: str | None = None
    """In hexadecimal: BLAKE3 of the object's bytes (manifest, entry), or a finding's identity."""
    start: Lsn | None = None
    end: Lsn | None = None
    change: KeyChange | None = None
    count: int | None = None
    """Packs collected, or the generation that a rotation made."""
    finding: str | None = None
    """Of what kind the acknowledged finding is."""
    by: str | None = None
    reason: str | None = None


def backup_made(name: str, digest: str) -> JournalEvent:
    """The manifest object `name` of these bytes is committed: a backup."""
    return JournalEvent(kind=EventKind.BACKUP, name=name, digest=digest)


def expired(name: str) -> JournalEvent:
    """The object (manifest, record, index) is to be deleted next."""
    return JournalEvent(kind=EventKind.EXPIRED, name=name)


def wal_stored(cluster: str, lineage: str, start: Lsn, end: Lsn) -> JournalEvent:
    """Every segment of [start, end) is stored, complete, as `wal/<cluster>/<lineage>/…`."""
    return JournalEvent(kind=EventKind.WAL, name=wal_folder(cluster, lineage), start=start, end=end)


def wal_expired(cluster: str, lineage: str, start: Lsn, end: Lsn) -> JournalEvent:
    """The segments of [start, end) are to be deleted next."""
    return JournalEvent(kind=EventKind.WAL_EXPIRED, name=wal_folder(cluster, lineage), start=start, end=end)


def record_put(name: str) -> JournalEvent:
    """The record is stored."""
    return JournalEvent(kind=EventKind.RECORD, name=name)


def index_put(name: str) -> JournalEvent:
    """The index is stored."""
    return JournalEvent(kind=EventKind.INDEX, name=name)


def key_added(slot: str) -> JournalEvent:
    """The key slot `keys/<slot id>` is stored."""
    return JournalEvent(kind=EventKind.KEY, name=slot, change=KeyChange.ADDED)


def key_removed(slot: str) -> JournalEvent:
    """The key slot is to be deleted next."""
    return JournalEvent(kind=EventKind.KEY, name=slot, change=KeyChange.REMOVED)


def key_rotated(generation: int) -> JournalEvent:
    """This generation of the master is stored in every slot, and seals from now on."""
    return JournalEvent(kind=EventKind.KEY, change=KeyChange.ROTATED, count=generation)


def packs_collected(count: int) -> JournalEvent:
    """So many packs are gone. For whoever reads the history: nothing is judged by it."""
    return JournalEvent(kind=EventKind.COLLECTED, count=count)


def writer_succeeds(head: str, digest: str) -> JournalEvent:
    """This writer's machine was another one: it last put the entry `head` of this digest, and now finds it otherwise.

    Its state was copied to another machine or put back, or the store was.
    """
    return JournalEvent(kind=EventKind.SUCCEEDS, name=head, digest=digest)


def finding_acknowledged(identity: str, *, kind: str, name: str, by: str, reason: str) -> JournalEvent:
    """Somebody has looked at the audit's finding of this identity, about the object `name`: it is no alarm any more."""
    return JournalEvent(kind=EventKind.ACKNOWLEDGED, name=name, digest=identity, finding=kind, by=by, reason=reason)


def event_to_json(event: JournalEvent) -> dict[str, Json]:
    """As it stands in an entry; what it does not have is left out."""
    value: dict[str, Json | None] = {
        "event": event.kind.value,
        "name": event.name or None,
        "digest": event.digest,
        "start": None if event.start is None else str(event.start),
        "end": None if event.end is None else str(event.end),
        "change": None if event.change is None else event.change.value,
        "count": event.count,
        "finding": event.finding,
        "by": event.by,
        "reason": event.reason,
    }
    return {name: field for name, field in value.items() if field is not None}


def event_from_json(value: dict[str, Any]) -> JournalEvent:
    """The event; ValueError, KeyError or TypeError for what is none."""
    name, digest, count = value.get("name", ""), value.get("digest"), value.get("count")
    if not (isinstance(name, str) and isinstance(digest, str | None) and isinstance(count, int | None)):
        raise TypeError("name, digest or count")
    words = {field: value[field] for field in _WORDS if field in value}
    if not all(isinstance(word, str) for word in words.values()):
        raise TypeError(" or ".join(_WORDS))
    return JournalEvent(
        kind=EventKind(value["event"]),
        name=name,
        digest=digest,
        start=Lsn.parse(value["start"]) if "start" in value else None,
        end=Lsn.parse(value["end"]) if "end" in value else None,
        change=KeyChange(value["change"]) if "change" in value else None,
        count=count,
        **words,
    )
