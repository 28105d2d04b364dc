"""What keys a repository has: its slots as people see them, its generations, and whether they are those known before.

Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from blake3 import blake3

from safepoint import errors
from safepoint.repository.names import KEYS_PREFIX, position_of, slot_id_of, slot_name
from safepoint.repository.sealing import keys
from safepoint.repository.sealing.generations import Generation, read_generation
from safepoint.repository.sealing.keys import OpenedKeys
from safepoint.repository.sealing.seal import Keyring
from safepoint.repository.sealing.slots import Slot, SlotKind, read_slot
from safepoint.stores.port import NotFound, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySlot:
    """A slot as people see it. `generations` are those it opens, `is_current` says that these are all there are.

    `fault` says why nobody who has the keys made it as it is (the other facts are then only what it claims).
    """

    id: str
    kind: SlotKind | None
    name: str
    created: datetime | None
    generations: tuple[int, ...] = ()
    is_current: bool = False
    is_own: bool = False
    fault: str | None = None


def list_keys(store: Store, opened: OpenedKeys) -> tuple[KeySlot, ...]:
    """Every slot in the store, the oldest first, also those that were tampered with. RP003 without encryption."""
    require_encrypted(opened)
    found = tuple(_described(store, opened, name) for name in store.list(KEYS_PREFIX) if slot_id_of(name))
    generations = _generations(store, opened)
    listed = [_as_key_slot(opened, generations, slot) if isinstance(slot, Slot) else slot for slot in found if slot]
    return tuple(sorted(listed, key=lambda slot: (slot.created is None, slot.created, slot.id)))


def require_newest(store: Store, keyring: Keyring) -> None:
    """RP008 when the store holds a later generation than these keys have: open the repository anew before sealing.

    One listing of a few names. For writers that live long: a receiver that opened before a rotation would seal for
    whoever was shut out by it.
    """
    if keyring.is_encrypted and last_position(store) > len(keyring.masters):
        raise keys.lacks("a generation that was made since the repository was opened", keyring.masters)


def remembered(opened: OpenedKeys) -> dict[str, str]:
    """What to keep outside the store, so that a generation which is hidden or exchanged later is noticed."""
    return {str(number): blake3(b"safepoint 1 remembered", key=master).hexdigest() for number, master in opened.masters}


def require_remembered(opened: OpenedKeys, before: Mapping[str, str]) -> None:
    """RP008 unless the keys still are those that were remembered, or more."""
    now = remembered(opened)
    for number, digest in before.items():
        if now.get(number) != digest:
            state = "no longer there" if number not in now else "another one"
            label = keys.generation_label(int(number))
            raise keys.lacks(f"generation {label}, which was opened here before, {state}", opened.keyring.masters)


def members_of(store: Store, opened: OpenedKeys, *, since: int | None = None) -> dict[str, bytes]:
    """Public keys of the slots in the store that open everything (or everything `since` that position), by id."""
    needed = opened.masters[: since or len(opened.masters)]
    ids = {slot.id for slot in list_keys(store, opened) if set(slot.generations) >= {number for number, _ in needed}}
    found = {slot_id: _slot(store, slot_id) for slot_id in sorted(ids)}
    return {slot_id: slot.public for slot_id, slot in found.items() if slot is not None}


def last_position(store: Store) -> int:
    """That of the newest generation in the store; 0 when there is none but the first."""
    return max((position_of(name) or 0 for name in store.list(KEYS_PREFIX)), default=0)


def require_encrypted(opened: OpenedKeys) -> None:
    """RP003 without encryption."""
    if not opened.keyring.is_encrypted:
        raise errors.RP003.error(
            f"found repository {opened.description.id} unencrypted, expected one that has keys",
            hints=[
                errors.run("make an encrypted one, by `key` in its entry or --key: `safepoint repository init`"),
                errors.run("then copy into it: `safepoint repository copy --to NAME|URL`"),
            ],
        )


def _slot(store: Store, slot_id: str) -> Slot | None:
    with suppress(NotFound):
        return read_slot(store, slot_name(slot_id))
    return None


def _described(store: Store, opened: OpenedKeys, name: str) -> Slot | KeySlot | None:
    """The slot, what is wrong with it, or None when it went away meanwhile."""
    try:
        slot = read_slot(store, name)
    except NotFound:
        return None
    except (errors.Damaged, errors.Refused) as error:
        return KeySlot(id=str(slot_id_of(name)), kind=None, name="?", created=None, fault=error.message)
    if slot.is_genuine(opened.description, opened.masters):
        return slot
    fault = "its seal does not hold: nobody who has the keys of this repository made it"
    return KeySlot(id=slot.id, kind=slot.kind, name=slot.name, created=slot.created, fault=fault)


def _as_key_slot(opened: OpenedKeys, generations: Mapping[int, Generation], slot: Slot) -> KeySlot:
    """A genuine slot opens what it holds, and from there on each generation that was made for it."""
    opens = slot.position
    while (later := generations.get(opens + 1)) is not None and slot.id in later.wraps:
        opens += 1
    return KeySlot(
        id=slot.id,
        kind=slot.kind,
        name=slot.name,
        created=slot.created,
        generations=tuple(number for number, _ in opened.masters[:opens]),
        is_current=opens == len(opened.masters),
        is_own=slot.id == opened.slot,
    )


def _generations(store: Store, opened: OpenedKeys) -> dict[int, Generation]:
    """The genuine ones by position; what is not, opens for nobody."""
    found: dict[int, Generation] = {}
    for name in store.list(KEYS_PREFIX):
        if position_of(name) is not None:
            with suppress(NotFound, errors.Damaged, errors.Refused):
                generation = read_generation(store, name)
                if generation.is_genuine(opened.description, opened.masters):
                    found[generation.position] = generation
    return found
