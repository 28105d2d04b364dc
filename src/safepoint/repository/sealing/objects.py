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
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from blake3 import blake3

from safepoint import errors
from safepoint.model.json_value import Json, JsonObject
from safepoint.repository.sealing.checked_json import canonical
from safepoint.repository.sealing.seal import (
    HEADER_BYTES,
    OVERHEAD,
    BrokenSeal,
    Codec,
    Keyring,
    Kind,
    compress,
    compress_wal,
    header,
    read_header,
)
from safepoint.stores.port import Data, NotFound, Store

_LENGTHS = struct.Struct(">IIQ")
_FACTS_AT = HEADER_BYTES + _LENGTHS.size
_FACTS_READ = 4096
_LARGEST_FACTS = 1 << 20
_REPOSITORY = "repository"
_MEBIBYTE = 1 << 20

LARGEST_BODY: Mapping[Kind, int] = {
    Kind.PACK: 256 * _MEBIBYTE,  # 64 MiB, one more blob of 32 MiB, and the table: the whole object
    Kind.TABLE: 256 * _MEBIBYTE,  # within its pack
    Kind.MANIFEST: 4 * _MEBIBYTE,  # a dozen fields
    Kind.WAL: 1024 * _MEBIBYTE,  # the largest segment that PostgreSQL knows
    Kind.HISTORY: 16 * _MEBIBYTE,  # a line for each promotion
    Kind.RECORD: 64 * _MEBIBYTE,  # 16 bytes for each object that was verified: four million
    Kind.INDEX: 64 * _MEBIBYTE,  # 45 bytes for each of 500,000 blobs, or for all that one pack can hold
    Kind.LEASE: 4 * _MEBIBYTE,  # facts alone
    Kind.END: 4 * _MEBIBYTE,  # facts alone
    Kind.TOMBSTONE: 64 * _MEBIBYTE,  # 32 bytes for each pack: two million
    Kind.JOURNAL: 64 * _MEBIBYTE,  # some 150 bytes for each event: four hundred thousand
}
"""Raw bytes of the largest body of each kind: no more is ever fetched or decompressed, whatever lies in the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The content of an object."""

    body: bytes
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


def seal_object(keyring: Keyring, kind: Kind, name: str, body: Data, facts: JsonObject | None = None) -> bytes:
    """The bytes to store as `name`; different each time, because the salt is. ValueError above `LARGEST_BODY`."""
    if len(body) > LARGEST_BODY[kind]:
        raise ValueError(f"found {len(body)} bytes for {name}, expected {LARGEST_BODY[kind]} at most")
    salt = keyring.new_salt()
    seal, identity = keyring.seal_for(kind, salt), _identity(name)
    raw_facts = canonical(facts or {})
    facts_length = len(raw_facts) + OVERHEAD
    sealed_facts = seal.close(_FACTS_AT, identity, len(raw_facts), Codec.RAW, raw_facts)
    codec, payload = (compress_wal if kind is Kind.WAL else compress)(body)
    sealed_body = seal.close(_FACTS_AT + facts_length, identity, len(body), codec, payload)
    lengths = _LENGTHS.pack(len(raw_facts), facts_length, len(body))
    return b"".join((header(kind, salt), lengths, *sealed_facts, *sealed_body))


def read_object(store: Store, keyring: Keyring, kind: Kind, name: str) -> Opened:
    """The object, wholly checked; RP004 when it is missing, RP005 when its seal does not hold."""
    return open_object(keyring, kind, name, fetch(store, name, kind))


def open_object(keyring: Keyring, kind: Kind, name: str, data: bytes) -> Opened:
    """The object of this name that these bytes are, wholly checked; RP005."""
    try:
        facts, body_at, body_length = _open_facts(keyring, kind, name, data)
        if body_length > LARGEST_BODY[kind]:
            raise too_large(name, kind, body_length)
        seal = keyring.seal_for(kind, read_header(data, kind))
        body = seal.open(body_at, _identity(name), body_length, memoryview(data)[body_at:])
    except BrokenSeal:
        raise broken(name, kind, len(data)) from None
    return Opened(body=body, facts=facts)


def seal_own(keyring: Keyring, kind: Kind, name: str, body: bytes, facts: JsonObject | None = None) -> bytes:
    """As `seal_object`, for what holds in this repository only: its siblings share the keys, not the decisions."""
    return seal_object(keyring, kind, name, body, {**(facts or {}), _REPOSITORY: keyring.repository.hex()})


def read_own(store: Store, keyring: Keyring, kind: Kind, name: str) -> Opened:
    """As `read_object`, of what `seal_own` made; RP005 also when it is a sibling's."""
    opened = read_object(store, keyring, kind, name)
    if opened.facts.get(_REPOSITORY) != keyring.repository.hex():
        raise errors.RP005.error(
            f"found {name} of repository {opened.facts.get(_REPOSITORY)}, expected {keyring.repository.hex()}",
            hints=[errors.ask("was it copied here from a sibling, past `safepoint repository copy`?")],
        )
    return opened


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


def fetch(store: Store, name: str, kind: Kind) -> bytes:
    """The bytes of an object; RP004 when it is missing, RP005 when it is larger than any of this kind."""
    most = largest_object(kind)
    try:
        data = store.get_range(name, 0, most + 1)
        if len(data) > most:
            raise too_large(name, kind, store.size(name))
    except NotFound:
        raise missing(name) from None
    return data


def largest_object(kind: Kind) -> int:
    """Stored bytes of the largest object of this kind."""
    return LARGEST_BODY[kind] if kind is Kind.PACK else LARGEST_BODY[kind] + _FACTS_AT + _LARGEST_FACTS + 2 * OVERHEAD


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


def too_large(name: str, kind: Kind, size: int) -> errors.SafepointError:
    """RP005, before anything of that size is fetched or made."""
    return errors.RP005.error(
        f"found {size} bytes in {name}, expected at most {LARGEST_BODY[kind]} of a {kind.name.lower()}",
        hints=[
            errors.ask("was the object replaced, or written by a program that is not safepoint?"),
            errors.run("fetch it from another copy of this repository under the same name"),
        ],
    )


def _open_facts(keyring: Keyring, kind: Kind, name: str, data: bytes) -> tuple[dict[str, Any], int, int]:
    """The facts, where the body begins, and its raw length."""
    seal = keyring.seal_for(kind, read_header(data, kind))
    raw_length, _, body_length = _lengths(data)
    body_at = _facts_end(data)
    facts = seal.open(_FACTS_AT, _identity(name), raw_length, data[_FACTS_AT:body_at])
    try:
        return _object_of(facts), body_at, body_length
    except ValueError:
        raise BrokenSeal from None


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


def from_json(name: str, kind: Kind, data: bytes) -> dict[str, Json]:
    """A JSON object; RP005 when a seal that holds encloses anything else."""
    try:
        return _object_of(data)
    except ValueError:
        raise broken(name, kind, len(data)) from None


def _object_of(data: bytes) -> dict[str, Any]:
    """The JSON object; ValueError for anything else, however deep it is nested."""
    try:
        found: object = json.loads(data)
    except RecursionError:
        raise ValueError("found JSON nested too deep, expected an object") from None
    if not isinstance(found, dict):
        raise ValueError(f"found {type(found).__name__}, expected an object")  # noqa: TRY004 - data, no mistake
    return cast("dict[str, Any]", found)
