"""What a journal entry says, as values, and its one spelling in bytes that is signed and chained.

A writer is named by its public key: the first 16 bytes of the key's BLAKE3, so that nobody who lacks the private key
can sign under the name, not even with every key of the repository. Every entry carries the public key and is judged
without any other. Pure: no store, no clock. docs/FORMAT.md, "Journal", is the specification.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from safepoint.model.json_value import Json
from safepoint.model.lsn import Lsn
from safepoint.repository.sealing.checked_json import canonical

JOURNAL_PREFIX = "journal/"
FIRST_SEQUENCE = 1
NO_ENTRY = ""
"""What the first entry of a writer gives as the digest of the one before it."""

_SIGNED_AS = b"safepoint journal 1\n"
_NAME = re.compile(r"journal/([0-9a-f]{32})/([0-9]{12})")
_WRITER = re.compile(r"[0-9a-f]{32}")
_WRITER_BYTES = 16


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
    """BLAKE3 of the manifest object's bytes, in hexadecimal."""
    start: Lsn | None = None
    end: Lsn | None = None
    change: KeyChange | None = None
    count: int | None = None
    """Packs collected, or the generation that a rotation made."""


def backup_made(name: str, digest: str) -> JournalEvent:
    """The manifest object `name` of these bytes is committed: a backup."""
    return JournalEvent(kind=EventKind.BACKUP, name=name, digest=digest)


def expired(name: str) -> JournalEvent:
    """The object (manifest, record, index) is to be deleted next."""
    return JournalEvent(kind=EventKind.EXPIRED, name=name)


def wal_stored(cluster: str, lineage: str, start: Lsn, end: Lsn) -> JournalEvent:
    """Every segment of [start, end) is stored, complete, as `wal/<cluster>/<lineage>/…`."""
    return JournalEvent(kind=EventKind.WAL, name=f"wal/{cluster}/{lineage}", start=start, end=end)


def wal_expired(cluster: str, lineage: str, start: Lsn, end: Lsn) -> JournalEvent:
    """The segments of [start, end) are to be deleted next."""
    return JournalEvent(kind=EventKind.WAL_EXPIRED, name=f"wal/{cluster}/{lineage}", start=start, end=end)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry as it stands in the store. `digest` is that of its object's bytes, which the next entry names."""

    writer: str
    sequence: int
    previous: str
    at: datetime
    events: tuple[JournalEvent, ...]
    heads: Mapping[str, int]
    digest: str
    is_signed: bool = True
    """Whether the signature is that of the writer it names."""
    unknown_events: tuple[str, ...] = ()
    """Kinds of events that a later version wrote."""

    @property
    def name(self) -> str:
        """The object's name."""
        return entry_name(self.writer, self.sequence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """An object at an entry's place that is none of this repository."""

    writer: str
    sequence: int
    because: str

    @property
    def name(self) -> str:
        """The object's name."""
        return entry_name(self.writer, self.sequence)


def entry_name(writer: str, sequence: int) -> str:
    """`journal/<writer>/<12 digits>`."""
    return f"{JOURNAL_PREFIX}{writer}/{sequence:012d}"


def place_of(name: str) -> tuple[str, int] | None:
    """Writer and sequence of an entry's name; None for anything else."""
    match = _NAME.fullmatch(name)
    if match is None or int(match[2]) < FIRST_SEQUENCE:
        return None
    return match[1], int(match[2])


def writer_of(key: Ed25519PublicKey) -> str:
    """The name of the writer that holds the private key."""
    return blake3(key.public_bytes_raw()).hexdigest(length=_WRITER_BYTES)


def digest_of(data: bytes) -> str:
    """The digest by which entries name one another, and manifests."""
    return blake3(data).hexdigest()


def signed_entry(
    key: Ed25519PrivateKey,
    *,
    repository: str,
    sequence: int,
    previous: str,
    at: datetime,
    events: Sequence[JournalEvent],
    heads: Mapping[str, int],
) -> bytes:
    """The body of the object to store."""
    public = key.public_key()
    value: dict[str, Json] = {
        "repository": repository,
        "writer": writer_of(public),
        "sequence": sequence,
        "previous": previous,
        "at": at.astimezone(UTC).isoformat(),
        "events": [_event_to_json(event) for event in events],
        "heads": dict(heads),
        "key": public.public_bytes_raw().hex(),
    }
    return canonical({**value, "signature": key.sign(_SIGNED_AS + canonical(value)).hex()})


def read_entry(body: bytes, digest: str, *, repository: str, writer: str, sequence: int) -> Entry:
    """The entry; ValueError, which says why, unless it is one of this repository, writer and sequence."""
    try:
        value = _fields_of(body)
        for field, found, expected in (
            ("repository", value["repository"], repository),
            ("writer", value["writer"], writer),
            ("sequence", value["sequence"], sequence),
        ):
            if found != expected:
                raise ValueError(f"found the {field} {found!r} in it, expected {expected!r}")
        return _entry_of(value, digest)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"found an entry without a usable {error}, expected all fields") from error


def _fields_of(body: bytes) -> dict[str, Any]:
    try:
        value: dict[str, Any] = dict(json.loads(body))
        is_canonical = canonical(value) == body
    except RecursionError:
        raise ValueError("found an entry nested too deep, expected the fields of one") from None
    if not is_canonical:
        raise ValueError("found another spelling of the entry, expected compact JSON with sorted keys")
    return value


def _entry_of(value: dict[str, Any], digest: str) -> Entry:
    known = {kind.value for kind in EventKind}
    heads: dict[str, int] = value["heads"]
    for writer, head in heads.items():
        if _WRITER.fullmatch(writer) is None or type(head) is not int or head < FIRST_SEQUENCE:
            raise ValueError(f"found the head {head!r} of {writer!r}, expected a writer and a sequence from 1")
    return Entry(
        writer=value["writer"],
        sequence=value["sequence"],
        previous=str(value["previous"]),
        at=datetime.fromisoformat(value["at"]).astimezone(UTC),
        events=tuple(_event_of(event) for event in value["events"] if event["event"] in known),
        heads=heads,
        digest=digest,
        is_signed=_is_signed(value),
        unknown_events=tuple(str(event["event"]) for event in value["events"] if event["event"] not in known),
    )


def _is_signed(value: dict[str, Any]) -> bool:
    unsigned = {name: field for name, field in value.items() if name != "signature"}
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(value["key"]))
        key.verify(bytes.fromhex(value["signature"]), _SIGNED_AS + canonical(unsigned))
    except (InvalidSignature, ValueError):
        return False
    return writer_of(key) == value["writer"]


def _event_to_json(event: JournalEvent) -> dict[str, Json]:
    value: dict[str, Json | None] = {
        "event": event.kind.value,
        "name": event.name or None,
        "digest": event.digest,
        "start": None if event.start is None else str(event.start),
        "end": None if event.end is None else str(event.end),
        "change": None if event.change is None else event.change.value,
        "count": event.count,
    }
    return {name: field for name, field in value.items() if field is not None}


def _event_of(value: dict[str, Any]) -> JournalEvent:
    name, digest, count = value.get("name", ""), value.get("digest"), value.get("count")
    if not (isinstance(name, str) and isinstance(digest, str | None) and isinstance(count, int | None)):
        raise TypeError("name, digest or count")
    return JournalEvent(
        kind=EventKind(value["event"]),
        name=name,
        digest=digest,
        start=Lsn.parse(value["start"]) if "start" in value else None,
        end=Lsn.parse(value["end"]) if "end" in value else None,
        change=KeyChange(value["change"]) if "change" in value else None,
        count=count,
    )
