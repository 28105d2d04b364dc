"""Indexes follow what a collection deletes: none lists a pack for long that is gone.

What a new index says is durable before the one that it supersedes is deleted: killed anywhere, what is listed and
what was replaced are known from one of the two or from both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from safepoint import errors
from safepoint.repository.commit.leases import list_packs
from safepoint.repository.commit.tombstones import dead_packs
from safepoint.repository.names import end_name
from safepoint.repository.packs.index import Index, IndexFacts, put_index, read_index, read_index_facts, survey_indexes
from safepoint.repository.packs.replacements import counts
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores.port import NotFound, Store

_Followers = dict[bytes, dict[str, frozenset[str]]]
"""By pack the indexes that say it was replaced, each with all that it says was."""


def drop_packs(store: Store, keyring: Keyring, gone: AbstractSet[bytes]) -> None:
    """No index that opens lists any of these packs, durably. They must be gone for good.

    Reads every index once, one at a time. Left alone are those of a lease that has not ended, and as long as one does
    not open, those that were superseded. What an index says of replaced packs goes on to what supersedes it; it ends
    with the last of the packs that replaced them: what moved on from there, a later index says (care/moving.py). When
    that one does not say all of it, the pack that is gone stays listed as the link between both, until one does.
    """
    survey = survey_indexes(store, keyring)
    facts = {name: survey.facts[name] for name in survey.current() if name in survey.facts}
    absent, is_sound = _absent(store, keyring, facts)
    links = frozenset[bytes]().union(*absent.values()) - gone
    if links:
        gone = frozenset({*gone, *(links & dead_packs(store, keyring))})
    followers = _followers(facts, gone)
    affected = [name for name, packs in absent.items() if packs & gone]
    for name in affected:
        is_sound &= _drop_from(store, keyring, name, gone, followers)
    if is_sound and not survey.damaged:
        for name in sorted(survey.facts.keys() - facts.keys()):
            _delete(store, name)  # left behind by who was killed after superseding it
    store.barrier()


def _absent(store: Store, keyring: Keyring, names: Iterable[str]) -> tuple[dict[str, frozenset[bytes]], bool]:
    """By index the packs that it lists and that are not there; and whether all could be read."""
    stored = list_packs(store)
    found: dict[str, frozenset[bytes]] = {}
    is_sound = True
    for name in names:
        try:
            found[name] = frozenset(pack.pack for pack in read_index(store, keyring, name).packs) - stored
        except errors.Damaged as error:
            is_sound &= error.spec is errors.RP004
    return found, is_sound


def _followers(facts: Mapping[str, IndexFacts], gone: AbstractSet[bytes]) -> _Followers:
    found: _Followers = {}
    for name, index in facts.items():
        for pack in {bytes.fromhex(pack) for pack in index.replaces} & gone:
            found.setdefault(pack, {})[name] = frozenset(index.replaces)
    return found


def _is_link(index: Index, pack: bytes, followers: _Followers) -> bool:
    """Whether another index says where blobs of the pack went, but not of all that this one says it replaced."""
    replaced = set(index.replaces) - {pack.hex()}
    return any(not replaced <= known for name, known in followers.get(pack, {}).items() if name != index.name)


def _drop_from(store: Store, keyring: Keyring, name: str, gone: AbstractSet[bytes], followers: _Followers) -> bool:
    """Supersedes or deletes the index when it lists any of the packs needlessly; False when it cannot be read."""
    try:
        index = read_index(store, keyring, name)
        if not _is_settled(store, index):
            return True
        if index.replaces and counts(store, keyring, name, read_index_facts(store, keyring, name)):
            gone = frozenset(pack for pack in gone if not _is_link(index, pack, followers))
        if any(pack.pack in gone for pack in index.packs):
            _put_successor(store, keyring, index, gone)
            _delete(store, name)  # Killed before? It is superseded, and the next call deletes it.
    except errors.Damaged as error:
        return error.spec is errors.RP004
    return True


def _is_settled(store: Store, index: Index) -> bool:
    """Whether it is decided for ever if what the index says of replaced packs counts."""
    return index.lease is None or not index.replaces or _has_ended(store, index.lease)


def _put_successor(store: Store, keyring: Keyring, index: Index, gone: AbstractSet[bytes]) -> None:
    left = [pack for pack in index.packs if pack.pack not in gone]
    if not left:
        return
    facts = read_index_facts(store, keyring, index.name)
    replaces = [bytes.fromhex(pack) for pack in index.replaces] if counts(store, keyring, index.name, facts) else []
    put_index(store, keyring, index.cluster, left, [index.name], replaces=replaces)


def _has_ended(store: Store, lease: str) -> bool:
    try:
        store.size(end_name(lease))
    except NotFound:
        return False
    return True


def _delete(store: Store, name: str) -> None:
    with contextlib.suppress(NotFound):
        store.delete(name)
