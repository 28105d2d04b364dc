"""Objects of one piece of content each: manifests, WAL, histories, records.

    header (48 bytes: magic, version, kind, zeros, salt)
    u32 raw and u32 sealed length of the facts, u64 raw length of the body
    facts, sealed: a small JSON object that one short range read gives
    body, sealed: to the end of the object

The seals cover the object's name: under another name, or in another repository, it does not open.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3

from safepoint import errors
from safepoint.model.json_value import Json, JsonObject
from safepoint.repository.sealing.seal import (
    HEADER_BYTES,
    OVERHEAD,
    BrokenSeal,
    Codec,
    Keyring,
    Kind,
    compress,
    header,
    read_header,
)
from safepoint.stores.port import NotFound, Store

_LENGTHS = struct.Struct(">IIQ")
_FACTS_AT = HEADER_BYTES + _LENGTHS.size
_FACTS_READ = 4096
_LARGEST_FACTS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The content of an object."""

    body: bytes
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


def seal_object(keyring: Keyring, kind: Kind, name: str, body: bytes, facts: JsonObject | None = None) -> bytes:
    """The bytes to store as `name`; different each time, because the salt is."""
    salt = keyring.new_salt()
    seal, identity = keyring.seal_for(kind, salt), _identity(name)
    raw_facts = json.dumps(facts or {}, sort_keys=True, separators=(",", ":")).encode()
    facts_length = len(raw_facts) + OVERHEAD
    sealed_facts = seal.close(_FACTS_AT, identity, len(raw_facts), Codec.RAW, raw_facts)
    codec, payload = compress(body)
    sealed_body = seal.close(_FACTS_AT + facts_length, identity, len(body), codec, payload)
    lengths = _LENGTHS.pack(len(raw_facts), facts_length, len(body))
    return b"".join((header(kind, salt), lengths, *sealed_facts, *sealed_body))


def read_object(store: Store, keyring: Keyring, kind: Kind, name: str) -> Opened:
    """The object, wholly checked; RP004 when it is missing, RP005 when its seal does not hold."""
    data = fetch(store, name)
    try:
        facts, body_at, body_length = _open_facts(keyring, kind, name, data)
        seal = keyring.seal_for(kind, read_header(data, kind))
        body = seal.open(body_at, _identity(name), body_length, memoryview(data)[body_at:])
    except BrokenSeal:
        raise broken(name, kind, len(data)) from None
    return Opened(body=body, facts=facts)


def read_facts(store: Store, keyring: Keyring, kind: Kind, name: str) -> dict[str, Any]:
    """The object's facts by one short range read; RP004, RP005. Says nothing about the body."""
    try:
        data = store.get_range(name, 0, _FACTS_READ)
        needed = _facts_end(data)
        if needed > len(data):
            data = store.get_range(name, 0, needed)
        return _open_facts(keyring, kind, name, data)[0]
    except NotFound:
        raise missing(name) from None
    except BrokenSeal:
        raise broken(name, kind, store.size(name)) from None


def fetch(store: Store, name: str) -> bytes:
    """The bytes of an object; RP004 when it is missing."""
    try:
        return store.get(name)
    except NotFound:
        raise missing(name) from None


def missing(name: str) -> errors.SafepointError:
    """RP004."""
    return errors.RP004.error(
        f"found no object {name}, expected it in the repository",
        hints=[
            errors.ask("was it deleted by hand, by a lifecycle rule, or is this a copy that is not complete yet?"),
            errors.run("fetch it from another copy of this repository under the same name"),
        ],
    )


def broken(name: str, kind: Kind, size: int) -> errors.SafepointError:
    """RP005."""
    return errors.RP005.error(
        f"found {size} bytes in {name} whose seal does not hold, expected this repository's {kind.name.lower()}",
        hints=[
            errors.ask("has the disk lost or changed bits, or was the object cut short, renamed or replaced?"),
            errors.run("fetch it from another copy of this repository under the same name"),
        ],
    )


def _open_facts(keyring: Keyring, kind: Kind, name: str, data: bytes) -> tuple[dict[str, Any], int, int]:
    """The facts, where the body begins, and its raw length."""
    seal = keyring.seal_for(kind, read_header(data, kind))
    raw_length, _, body_length = _lengths(data)
    body_at = _facts_end(data)
    facts = seal.open(_FACTS_AT, _identity(name), raw_length, data[_FACTS_AT:body_at])
    return json.loads(facts), body_at, body_length


def _facts_end(data: bytes) -> int:
    raw_length, sealed_length, _ = _lengths(data)
    if sealed_length > _LARGEST_FACTS or raw_length + OVERHEAD != sealed_length:
        raise BrokenSeal
    return _FACTS_AT + sealed_length


def _lengths(data: bytes) -> tuple[int, int, int]:
    if len(data) < _FACTS_AT:
        raise BrokenSeal
    return _LENGTHS.unpack_from(data, HEADER_BYTES)


def _identity(name: str) -> bytes:
    return blake3(name.encode()).digest()


def as_json(value: JsonObject) -> bytes:
    """Compact JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def from_json(name: str, kind: Kind, data: bytes) -> dict[str, Json]:
    """A JSON object; RP005 when a seal that holds encloses anything else."""
    try:
        return dict(json.loads(data))
    except (ValueError, TypeError):
        raise broken(name, kind, len(data)) from None
