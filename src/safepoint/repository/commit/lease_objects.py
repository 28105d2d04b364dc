"""The objects of a lease, and what a listing of them says. docs/FORMAT.md is the specification.

leases/<id>/begin               put before the writer looks at anything; durable
leases/<id>/renewal-<8 digits>  at most hourly: the writer lives
leases/<id>/end                 committed, revoked or abandoned: the first to put it wins; kept for ever
leases/<id>/expired             the backup that this lease committed is no more; kept for ever
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from safepoint.model.json_value import JsonObject
from safepoint.model.measures import Clock
from safepoint.repository.names import (
    BEGIN,
    END,
    EXPIRED,
    LEASES_PREFIX,
    RENEWAL,
    begin_name,
    end_name,
    is_lease_id,
    lease_part,
)
from safepoint.repository.sealing.objects import broken, missing, read_own, seal_own
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.stores.port import NotFound, Store, check_name

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TAG = slice(22, 30)
"""Of a pack's id."""


class Outcome(Enum):
    """How a lease ended."""

    COMMITTED = "committed"
    REVOKED = "revoked"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The end of a lease. Of a committed one: the manifest's name and the BLAKE3 of its object, in hex."""

    outcome: Outcome
    manifest: str | None = None
    digest: str | None = None
    by: str | None = None
    at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseNames:
    """What a listing says of a lease. It is open as long as no end was listed, whatever else was or was not."""

    id: str
    has_begin: bool
    newest_renewal: str | None
    has_end: bool
    is_expired: bool


def new_lease_id(now: datetime) -> str:
    """Sorts by the writer's clock; unique whatever the clock says."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(8)}"


def tag_of(lease_id: str) -> bytes:
    """The 8 random bytes of the id: packs that carry them (`tag_in`) were put under this lease."""
    return bytes.fromhex(lease_id.rpartition("-")[2])


def tag_in(pack: bytes) -> bytes:
    """The tag that a pack of this id carries: that of its lease, unless no lease put it."""
    return pack[_TAG]


def open_tags(store: Store) -> frozenset[bytes]:
    """The tags of all leases that have not ended. List packs afterwards: the lease of each is then seen, or ended."""
    return frozenset(tag_of(lease.id) for lease in list_leases(store).values() if not lease.has_end)


def list_leases(store: Store) -> dict[str, LeaseNames]:
    """All leases by id, from one listing."""
    parts: dict[str, list[str]] = {}
    for name in store.list(LEASES_PREFIX):
        lease_id, _, part = name.removeprefix(LEASES_PREFIX).partition("/")
        if is_lease_id(lease_id):
            parts.setdefault(lease_id, []).append(part)
    return {lease_id: _names(lease_id, found) for lease_id, found in parts.items()}


def seal_end(keyring: Keyring, lease_id: str, end: End) -> bytes:
    """The bytes of `leases/<id>/end`; different each time, so that one's own can be told from everybody else's."""
    facts: dict[str, Any] = {"end": end.outcome.value}
    facts |= {key: value for key in ("manifest", "digest", "by", "at") if (value := getattr(end, key)) is not None}
    return seal_own(keyring, Kind.END, end_name(lease_id), b"", facts)


def seal_fact(keyring: Keyring, kind: Kind, name: str, facts: JsonObject, clock: Clock) -> bytes:
    """An object that states these facts, when, and in which repository."""
    return seal_own(keyring, kind, name, b"", {**facts, "at": clock().astimezone(UTC).isoformat()})


def read_end(store: Store, keyring: Keyring, lease_id: str) -> End:
    """How the lease ended; RP004 when it did not, RP005."""
    name = end_name(lease_id)
    facts = read_own(store, keyring, Kind.END, name).facts
    known = {key: facts[key] for key in ("manifest", "digest", "by", "at") if isinstance(facts.get(key), str)}
    try:
        end = End(outcome=Outcome(facts.get("end")), **known)
        if end.manifest is not None:
            check_name(end.manifest)
    except ValueError:
        raise broken(name, Kind.END, store.size(name)) from None
    if end.outcome is Outcome.COMMITTED and not (end.manifest and _DIGEST.fullmatch(end.digest or "")):
        raise broken(name, Kind.END, store.size(name))
    return end


def require_begun(store: Store, lease_id: str) -> None:
    """RP004 when there is no begin: leases are never deleted, so that it is unknown how this one ended."""
    try:
        store.size(begin_name(lease_id))
    except NotFound:
        raise missing(begin_name(lease_id)) from None


def _names(lease_id: str, parts: Iterable[str]) -> LeaseNames:
    found = set(parts)
    renewals = sorted(part for part in found if part.startswith(RENEWAL))
    return LeaseNames(
        id=lease_id,
        has_begin=BEGIN in found,
        newest_renewal=lease_part(lease_id, renewals[-1]) if renewals else None,
        has_end=END in found,
        is_expired=EXPIRED in found,
    )
