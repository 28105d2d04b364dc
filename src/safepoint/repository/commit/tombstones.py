"""Sets of packs that are about to be deleted, as writers and collectors see them.

    tombstones/<id>/packs    the packs that may go: put first, deleted last; while it is there nobody reuses them
    tombstones/<id>/leases   the leases that were open after it was put: they may have decided to reuse them before
    tombstones/<id>/verdict  those of the packs that nobody came to refer to: the first to put it wins; kept for ever

Nothing but a verdict kills a pack, and what is dead stays dead: collectors that wake up late do no harm.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import cast

from safepoint import errors
from safepoint.repository.commit.parallel import in_threads
from safepoint.repository.sealing.objects import broken, read_own, seal_own
from safepoint.repository.sealing.seal import ID_BYTES, Keyring, Kind
from safepoint.stores.port import NotFound, Store

TOMBSTONES_PREFIX = "tombstones/"
_PACKS, _LEASES, _VERDICT = "packs", "leases", "verdict"


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


def list_sets(store: Store) -> tuple[SetNames, ...]:
    """All sets, from one listing."""
    parts: dict[str, set[str]] = {}
    for name in store.list(TOMBSTONES_PREFIX):
        set_id, _, part = name.removeprefix(TOMBSTONES_PREFIX).partition("/")
        parts.setdefault(set_id, set()).add(part)
    return tuple(
        SetNames(id=set_id, is_open=_PACKS in found, has_leases=_LEASES in found, has_verdict=_VERDICT in found)
        for set_id, found in parts.items()
    )


def condemned_packs(store: Store, keyring: Keyring) -> Condemned:
    """What a writer must not reuse. It must have put its lease before it asks, and list packs after."""
    found = [names.id for names in list_sets(store) if names.is_open]
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
    decided = [names.id for names in list_sets(store) if names.has_verdict]
    return frozenset[bytes]().union(*in_threads(lambda each: read_verdict(store, keyring, each), decided))


def put_set(store: Store, keyring: Keyring, packs: Iterable[bytes]) -> str:
    """A new set, durable; its id."""
    set_id = secrets.token_hex(16)
    _put_packs(store, keyring, packs_name(set_id), packs)
    return set_id


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


def packs_name(set_id: str) -> str:
    """Where its packs are listed."""
    return f"{TOMBSTONES_PREFIX}{set_id}/{_PACKS}"


def leases_name(set_id: str) -> str:
    """Where the leases are listed for which it waits."""
    return f"{TOMBSTONES_PREFIX}{set_id}/{_LEASES}"


def verdict_name(set_id: str) -> str:
    """Where its dead packs are listed."""
    return f"{TOMBSTONES_PREFIX}{set_id}/{_VERDICT}"


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
