"""Keys of siblings: one family, slots of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from key_samples import OTHER, made, opens, rotate_all, slot_of
from repository_samples import CHEAP, NOON, PASSPHRASE
from safepoint import errors
from safepoint.model.secret import Secret
from safepoint.repository import create_repository
from safepoint.repository.names import slot_name
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing import keys
from safepoint.repository.sealing.key_changes import (
    sync_generations,
)
from safepoint.repository.sealing.keys import OpenedKeys
from safepoint.repository.sealing.objects import read_object, seal_object
from safepoint.repository.sealing.seal import Kind
from safepoint.stores import MemoryStore, Store


def _sibling(store: Store, of: OpenedKeys, passphrase: Secret | None = OTHER) -> OpenedKeys:
    create_repository(store, passphrase, cost=CHEAP, clock=lambda: NOON, sibling_of=of)
    return open_keys(store, passphrase)


def test_a_sibling_opens_what_the_other_sealed() -> None:
    """Same family, same masters, byte for byte; its own id and passphrase."""
    main, dr = MemoryStore(), MemoryStore()
    made(main)
    opened = rotate_all(main).opened
    sibling = _sibling(dr, opened)
    name = "records/a/1"
    dr.put_if_absent(name, seal_object(opened.keyring, Kind.RECORD, name, b"as it is"))

    assert read_object(dr, sibling.keyring, Kind.RECORD, name).body == b"as it is"
    assert sibling.description.id != opened.description.id
    assert sibling.masters == opened.masters
    with pytest.raises(errors.Misconfigured, match="RP003"):
        open_keys(dr, PASSPHRASE)


def test_a_slot_of_a_sibling_is_none_of_the_other() -> None:
    """Slots and generations are of one repository, though the masters are of the family."""
    main, dr = MemoryStore(), MemoryStore()
    opened = made(main)
    sibling = _sibling(dr, opened)
    name = slot_name(str(sibling.slot))
    main.put_if_absent(name, dr.get(name))

    with pytest.raises(errors.Misconfigured, match="RP003"):
        open_keys(main, OTHER)
    assert slot_of(main, opened, str(sibling.slot)).fault is not None


def test_siblings_that_rotated_apart_give_each_other_their_generations() -> None:
    """Their generations have different numbers; afterwards both open all, and rotate on."""
    main, dr = MemoryStore(), MemoryStore()
    _sibling(dr, made(main))
    here, there = rotate_all(main).opened, rotate_all(dr, OTHER).opened

    there = sync_generations(here, dr, there, clock=lambda: NOON)
    here = sync_generations(there, main, here, clock=lambda: NOON)

    assert dict(here.masters) == dict(there.masters)
    assert len(here.masters) == 3
    assert here.keyring.generation == there.keyring.generation
    assert dict(open_keys(main, PASSPHRASE).masters) == dict(open_keys(dr, OTHER).masters) == dict(here.masters)
    assert sync_generations(here, dr, there, clock=lambda: NOON) == there
    assert rotate_all(main).opened.keyring.generation > here.keyring.generation
    assert opens(dr, OTHER) == 3


def test_two_masters_of_one_number_in_a_family_are_refused() -> None:
    """By lanes this is rare (never between a repository and the sibling made from it); it is found all the same."""
    main, dr = MemoryStore(), MemoryStore()
    here = made(main)
    there = _sibling(dr, here)
    clashing = [
        replace(one, keyring=replace(one.keyring, masters={**one.keyring.masters, 300: keys.new_master()}))
        for one in (here, there)
    ]

    with pytest.raises(errors.Refused, match="RP009: found two masters of generation 2-2c"):
        sync_generations(clashing[0], dr, clashing[1], clock=lambda: NOON)
    with pytest.raises(errors.Refused, match="RP009: found families"):
        sync_generations(made(MemoryStore()), dr, there, clock=lambda: NOON)


def test_a_repository_and_its_sibling_never_share_a_lane() -> None:
    """Whatever the ids."""
    first = keys.new_description(is_encrypted=True)
    numbers = {
        keys.next_generation(keys.new_description(is_encrypted=True, sibling_of=first), ((1, b""),))
        for _ in range(2000)
    }

    assert keys.next_generation(first, ((1, b""),)) not in numbers
    assert all(256 <= number < 512 for number in numbers)
    with pytest.raises(errors.Refused, match="RP009"):
        keys.next_generation(first, ((0xFF00, b""),))


def test_a_sibling_is_encrypted_as_the_other() -> None:
    """An unencrypted one shares the hashing key; a mixture is refused."""
    opened = made(MemoryStore(), None)
    sibling = _sibling(MemoryStore(), opened, None)

    assert sibling.keyring.masters == opened.keyring.masters
    assert sibling.keyring.family == opened.keyring.family
    with pytest.raises(errors.Misconfigured, match="RP003"):
        _sibling(MemoryStore(), opened)
    with pytest.raises(errors.Misconfigured, match="RP003"):
        _sibling(MemoryStore(), made(MemoryStore()), None)
