"""What a journal entry says, as values, and its one spelling in bytes that is signed and chained.

A writer is named by its public key: the first 16 bytes of the key's BLAKE3, so that nobody who lacks the private key
can sign under the name, not even with every key of the repository. Every entry carries the public key and is judged
without any other. Pure: no store, no clock. docs/FORMAT.md, "Journal", is the specification.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from safepoint.model.json_value import Json
from safepoint.repository.commit.journal_event import EventKind, JournalEvent, event_from_json, event_to_json
from safepoint.repository.names import entry_name, is_writer
from safepoint.repository.sealing.checked_json import canonical

FIRST_SEQUENCE = 1
NO_ENTRY = ""
"""What the first entry of a writer gives as the digest of the one before it."""

_SIGNED_AS = b"safepoint journal 1\n"
_WRITER_BYTES = 16


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
    digest: str = NO_ENTRY
    """That of its bytes, when they could be fetched."""

    @property
    def name(self) -> str:
        """The object's name."""
        return entry_name(self.writer, self.sequence)


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
        "events": [event_to_json(event) for event in events],
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
        if not is_writer(writer) or type(head) is not int or head < FIRST_SEQUENCE:
            raise ValueError(f"found the head {head!r} of {writer!r}, expected a writer and a sequence from 1")
    return Entry(
        writer=value["writer"],
        sequence=value["sequence"],
        previous=str(value["previous"]),
        at=datetime.fromisoformat(value["at"]).astimezone(UTC),
        events=tuple(event_from_json(event) for event in value["events"] if event["event"] in known),
        heads=heads,
        digest=digest,
        is_signed=_is_signed(value),
        unknown_events=tuple(str(event["event"]) for event in value["events"] if event["event"] not in known),
    )


def entry_to_json(entry: Entry) -> dict[str, Json]:
    """What `entry_from_json` takes; for this machine's memory, not for the store."""
    return {
        "writer": entry.writer,
        "sequence": entry.sequence,
        "previous": entry.previous,
        "at": entry.at.isoformat(),
        "events": [event_to_json(event) for event in entry.events],
        "heads": dict(entry.heads),
        "digest": entry.digest,
    }


def entry_from_json(value: dict[str, Any]) -> Entry:
    """The entry, of which the signature held; ValueError, KeyError or TypeError for what is none."""
    return Entry(
        writer=value["writer"],
        sequence=value["sequence"],
        previous=value["previous"],
        at=datetime.fromisoformat(value["at"]),
        events=tuple(map(event_from_json, value["events"])),
        heads=value["heads"],
        digest=value["digest"],
    )


def _is_signed(value: dict[str, Any]) -> bool:
    unsigned = {name: field for name, field in value.items() if name != "signature"}
    try:
        key = Ed25519PublicKey.from_public_bytes(_from_hex(value["key"]))
        key.verify(_from_hex(value["signature"]), _SIGNED_AS + canonical(unsigned))
    except (InvalidSignature, ValueError):
        return False
    return writer_of(key) == value["writer"]


def _from_hex(text: str) -> bytes:
    """ValueError unless in its one spelling: no capitals, no blanks."""
    found = bytes.fromhex(text)
    if found.hex() != text:
        raise ValueError(f"found {text[:16]!r}, expected lower-case hexadecimal digits")
    return found
