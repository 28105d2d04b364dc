"""Sets of packs that are about to be deleted, as writers and collectors see them.

    tombstones/<id>/packs    the packs that may go: put first, deleted last; while it is there nobody reuses them
    tombstones/<id>/leases   the leases that were open after it was put: they may have decided to reuse them before
    tombstones/<id>/verdict  those of the packs that nobody came to refer to: the first to put it wins; kept for ever

Nothing but a verdict kills a pack, and what is dead stays dead: collectors that wake up late do no harm.

Half of a set's id is a keyed digest of the other half: who lacks the key can damage a set of this repository, and
cannot make one. Whatever lies below `tombstones/` under another id is no set: it binds nobody and stops nobody.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import cast

from blake3 import blake3

from safepoint import errors
from safepoint.repository.names import (
    AWAITED,
    CONDEMNED,
    TOMBSTONES_PREFIX,
    VERDICT,
    leases_name,
    packs_name,
    tombstone_part,
    verdict_name,
)
from safepoint.repository.parallel import in_threads
from safepoint.repository.sealing.objects import broken, read_own, seal_own
from safepoint.repository.sealing.seal import ID_BYTES, Keyring, Kind
from safepoint.stores.port import NotFound, Store

_RANDOM_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SetNames:
    """What a listing says of a set; it is open as long as its packs are there."""

    id: str
    is_open: bool
    has_leases: bool
    has_verdict: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Condemned:
    """The packs of all open sets; `unreadable` names the sets of which that cannot be said."""

    packs: frozenset[bytes]
    unreadable: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What lies below `tombstones/`: sets, and the names of objects that belong to none of this repository."""

    sets: tuple[SetNames, ...]
    strangers: tuple[str, ...]


def list_sets(store: Store, keyring: Keyring) -> tuple[SetNames, ...]:
    """All sets, from one listing."""
    return list_tombstones(store, keyring).sets


def list_tombstones(store: Store, keyring: Keyring) -> Listed:
    """All sets and strangers, from one listing."""
    parts: dict[str, set[str]] = {}
    for name in store.list(TOMBSTONES_PREFIX):
        set_id, _, part = name.removeprefix(TOMBSTONES_PREFIX).partition("/")
        parts.setdefault(set_id, set()).add(part)
    key = _id_key(keyring)
    ours = {set_id: found for set_id, found in parts.items() if _is_ours(key, keyring, set_id)}
    strangers = (tombstone_part(set_id, part) for set_id in parts.keys() - ours.keys() for part in parts[set_id])
    return Listed(sets=_sets_of(ours), strangers=tuple(sorted(strangers)))


def _sets_of(parts: Mapping[str, AbstractSet[str]]) -> tuple[SetNames, ...]:
    return tuple(
        SetNames(id=set_id, is_open=CONDEMNED in found, has_leases=AWAITED in found, has_verdict=VERDICT in found)
        for set_id, found in parts.items()
    )


def condemned_packs(store: Store, keyring: Keyring) -> Condemned:
    """What a writer must not reuse. It must have put its lease before it asks, and list packs after."""
    found = [names.id for names in list_sets(store, keyring) if names.is_open]
    packs: set[bytes] = set()
    unreadable: list[str] = []
    for set_id, content in zip(found, in_threads(lambda each: _try_read(store, keyring, each), found), strict=True):
        if content is None:
            unreadable.append(packs_name(set_id))
        else:
            packs |= content
    return Condemned(packs=frozenset(packs), unreadable=tuple(unreadable))


def dead_packs(store: Store, keyring: Keyring) -> frozenset[bytes]:
    """Every pack that was ever condemned for good: its name must not be used again. RP005."""
    decided = [names.id for names in list_sets(store, keyring) if names.has_verdict]
    return frozenset[bytes]().union(*in_threads(lambda each: read_verdict(store, keyring, each), decided))


def put_set(store: Store, keyring: Keyring, packs: Iterable[bytes]) -> str:
    """A new set, durable; its id."""
    set_id = new_set_id(keyring)
    _put_packs(store, keyring, packs_name(set_id), packs)
    return set_id


def new_set_id(keyring: Keyring) -> str:
    """One that nobody had before."""
    chosen = secrets.token_bytes(_RANDOM_BYTES)
    return (chosen + _proof(_id_key(keyring), keyring, chosen)).hex()


def read_packs(store: Store, keyring: Keyring, set_id: str) -> frozenset[bytes]:
    """The packs of an open set; RP004 when it was closed meanwhile, RP005."""
    return _read_packs(store, keyring, packs_name(set_id))


def put_leases(store: Store, keyring: Keyring, set_id: str, leases: Iterable[str]) -> None:
    """The leases for which the set waits, durable, unless somebody has put some: those do as well.

    They must have been listed after the packs of the set were put.
    """
    name = leases_name(set_id)
    store.put_if_absent(name, seal_own(keyring, Kind.TOMBSTONE, name, b"", {"leases": sorted(leases)}))


def read_leases(store: Store, keyring: Keyring, set_id: str) -> frozenset[str] | None:
    """The leases for which the set waits; None when that cannot be read: then it is all that are open."""
    try:
        found = read_own(store, keyring, Kind.TOMBSTONE, leases_name(set_id)).facts.get("leases")
    except errors.Damaged:
        return None
    return frozenset(map(str, cast("list[object]", found))) if isinstance(found, list) else None


def decide(store: Store, keyring: Keyring, set_id: str, dead: Iterable[bytes]) -> frozenset[bytes]:
    """The verdict on the set: `dead`, or what somebody decided before. RP005."""
    packs = frozenset(dead)
    return packs if _put_packs(store, keyring, verdict_name(set_id), packs) else read_verdict(store, keyring, set_id)


def read_verdict(store: Store, keyring: Keyring, set_id: str) -> frozenset[bytes]:
    """The packs that are dead; RP004, RP005."""
    return _read_packs(store, keyring, verdict_name(set_id))


def close_set(store: Store, set_id: str) -> None:
    """The set is closed, its verdict stays. All of its dead packs must be gone, durably."""
    drop_leases(store, set_id)
    with contextlib.suppress(NotFound):
        store.delete(packs_name(set_id))


def drop_leases(store: Store, set_id: str) -> None:
    """The set's leases are not listed any more. No harm in an open set: whoever misses them puts those of then."""
    with contextlib.suppress(NotFound):
        store.delete(leases_name(set_id))


def _is_ours(key: bytes, keyring: Keyring, set_id: str) -> bool:
    try:
        found = bytes.fromhex(set_id)
    except ValueError:
        return False
    chosen, proof = found[:_RANDOM_BYTES], found[_RANDOM_BYTES:]
    return found.hex() == set_id and hmac.compare_digest(proof, _proof(key, keyring, chosen))


def _proof(key: bytes, keyring: Keyring, chosen: bytes) -> bytes:
    """Differs between siblings, which share the key."""
    return blake3(keyring.repository + chosen, key=key).digest(length=_RANDOM_BYTES)


def _id_key(keyring: Keyring) -> bytes:
    return keyring.derive("tombstone set")


def _put_packs(store: Store, keyring: Keyring, name: str, packs: Iterable[bytes]) -> bool:
    return store.put_if_absent(name, seal_own(keyring, Kind.TOMBSTONE, name, b"".join(sorted(packs))))


def _read_packs(store: Store, keyring: Keyring, name: str) -> frozenset[bytes]:
    body = read_own(store, keyring, Kind.TOMBSTONE, name).body
    if len(body) % ID_BYTES:
        raise broken(name, Kind.TOMBSTONE, len(body))
    return frozenset(body[at : at + ID_BYTES] for at in range(0, len(body), ID_BYTES))


def _try_read(store: Store, keyring: Keyring, set_id: str) -> AbstractSet[bytes] | None:
    """Nothing for a set that was closed since it was listed, None when it does not open."""
    try:
        return read_packs(store, keyring, set_id)
    except errors.Damaged as error:
        return frozenset() if error.spec is errors.RP004 else None
