"""Records: one small JSON object each, append-only, in the order of their names."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from safepoint import errors
from safepoint.model.json_value import JsonObject
from safepoint.repository.names import record_prefix
from safepoint.repository.sealing.checked_json import canonical
from safepoint.repository.sealing.objects import from_json, read_object, seal_object
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.stores.port import Store


def append_record(store: Store, keyring: Keyring, kind: str, record: JsonObject, at: datetime) -> str:
    """Makes the record durable; its name, which begins with `at`."""
    name = f"{record_prefix(kind)}{at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(8)}"
    if not store.put_if_absent(name, seal_object(keyring, Kind.RECORD, name, canonical(record))):
        raise errors.RP007.error(f"found {name} in the store, expected a random name to be free")
    return name


def read_records(store: Store, keyring: Keyring, kind: str) -> tuple[JsonObject, ...]:
    """All records of the kind, oldest first; RP005 names the first that does not open."""
    return tuple(
        from_json(name, Kind.RECORD, read_object(store, keyring, Kind.RECORD, name).body)
        for name in store.list(record_prefix(kind))
    )
