"""Repositories with several keys, and what tests do to the slots of such."""

from __future__ import annotations

from repository_samples import CHEAP, NOON, PASSPHRASE
from safepoint.model.secret import Secret
from safepoint.repository import create_repository, open_repository
from safepoint.repository.names import slot_name
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing import keys
from safepoint.repository.sealing.key_changes import Rotation, add_key, rotate
from safepoint.repository.sealing.key_listing import KeySlot, list_keys
from safepoint.repository.sealing.keys import OpenedKeys
from safepoint.repository.sealing.slots import Opener, new_slot
from safepoint.stores import MemoryStore, Store

OTHER = Secret("another passphrase")
LOST = Secret("a passphrase that was lost")


def made(store: Store, passphrase: Secret | None = PASSPHRASE) -> OpenedKeys:
    """A new repository's keys, opened."""
    create_repository(store, passphrase, cost=CHEAP, clock=lambda: NOON)
    return open_keys(store, passphrase)


def add(store: Store, opened: OpenedKeys, passphrase: Secret, name: str = "ops") -> str:
    return add_key(store, opened, passphrase, name=name, cost=CHEAP, clock=lambda: NOON)


def current_slots(store: Store, opened: OpenedKeys) -> set[str]:
    return {slot.id for slot in list_keys(store, opened) if slot.is_current}


def rotate_all(store: Store, passphrase: Secret = PASSPHRASE) -> Rotation:
    opened = open_keys(store, passphrase)
    return rotate(store, opened, slots=current_slots(store, opened), clock=lambda: NOON)


def opens(store: Store, passphrase: Secret) -> int:
    """How many generations it opens, all that there are; what it seals, it opens."""
    opened = open_keys(store, passphrase)
    assert opened.shortfall is None
    open_repository(store, passphrase)
    return len(opened.masters)


def copied(store: Store) -> MemoryStore:
    copy = MemoryStore()
    for name in store.list(""):
        copy.put_if_absent(name, store.get(name))
    return copy


def slot_of(store: Store, opened: OpenedKeys, slot_id: str) -> KeySlot:
    return next(slot for slot in list_keys(store, opened) if slot.id == slot_id)


def slip_in(store: Store, description: keys.Description, master: bytes) -> str:
    """A slot made by who has no key of the repository, or not all of them."""
    slot_id, data = new_slot(description, ((1, master),), Opener(LOST), name="dba", cost=CHEAP, created=NOON)
    store.put_if_absent(slot_name(slot_id), data)
    return slot_id
