"""Keys of a repository: who opens what, who is shut out by a rotation, and what cannot be a key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from key_samples import LOST, OTHER, add, current_slots, made, opens, rotate_all, slip_in
from repository_samples import NOON, PASSPHRASE
from safepoint import errors
from safepoint.model.secret import Secret
from safepoint.repository import open_repository
from safepoint.repository.names import slot_name
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing import keys
from safepoint.repository.sealing.key_changes import add_recovery_key, remove_key, rotate
from safepoint.repository.sealing.key_listing import list_keys
from safepoint.repository.sealing.objects import read_object, seal_object
from safepoint.repository.sealing.seal import BrokenSeal, Kind
from safepoint.stores import MemoryStore, Store
from safepoint.stores.faults import FaultyStore


def test_every_key_opens_everything_through_all_generations(store: Store) -> None:
    """Passphrases and recovery keys, made before, between and after two rotations by different people."""
    opened = made(store)
    add(store, opened, OTHER)
    _, before = add_recovery_key(store, opened, name="safe", clock=lambda: NOON)
    rotate_all(store)
    _, between = add_recovery_key(store, open_keys(store, OTHER), name="notary", clock=lambda: NOON)
    rotate_all(store, between)
    _, after = add_recovery_key(store, open_keys(store, before), name="bank", clock=lambda: NOON)

    masters = [open_keys(store, key).masters for key in (PASSPHRASE, OTHER, before, between, after)]

    assert len(masters[0]) == 3
    assert masters == [masters[0]] * 5
    assert open_repository(store, Secret(after.reveal().lower().replace("-", " "))).id == opened.description.id


def test_what_is_sealed_before_and_after_a_rotation_is_read() -> None:
    """The newest generation seals, each opens its own, and an older key says what it lacks."""
    store = MemoryStore()
    old = made(store)
    store.put_if_absent("records/a/1", seal_object(old.keyring, Kind.RECORD, "records/a/1", b"old"))
    new = rotate_all(store).opened
    store.put_if_absent("records/a/2", seal_object(new.keyring, Kind.RECORD, "records/a/2", b"new"))

    bodies = [read_object(store, new.keyring, Kind.RECORD, f"records/a/{number}").body for number in (1, 2)]

    assert bodies == [b"old", b"new"]
    with pytest.raises(BrokenSeal):
        old.keyring.seal_for(Kind.PACK, new.keyring.new_salt())
    with pytest.raises(
        errors.Misconfigured, match=r"RP008: found packs/x sealed with generation 2-.., expected .*: 1$"
    ):
        keys.require_generation(old.keyring, new.keyring.new_salt(), "packs/x")
    assert new.keyring.derive("blob id") == old.keyring.derive("blob id")


def test_the_list_says_who_opens_what() -> None:
    """Names, kinds, whose it is, and which slots lack the newest generation."""
    store = MemoryStore()
    opened = made(store)
    lost = add(store, opened, LOST, "laptop")
    kept = store.get(slot_name(lost))
    remove_key(store, opened, lost)
    safe, _ = add_recovery_key(store, opened, name="safe", clock=lambda: NOON)
    rotate_all(store)
    store.put_if_absent(slot_name(lost), kept)

    listed = {slot.name: slot for slot in list_keys(store, open_keys(store, PASSPHRASE))}

    assert listed["first"].is_own
    assert listed["safe"] == replace(listed["first"], id=safe, kind=listed["safe"].kind, name="safe", is_own=False)
    assert (listed["laptop"].generations, listed["laptop"].is_current, listed["laptop"].fault) == ((1,), False, None)


def test_a_removed_passphrase_that_is_put_back_is_shut_out_by_a_rotation() -> None:
    """Its slot, from a copy of the store, opens nothing that is sealed since, and no later rotation takes it in."""
    store = MemoryStore()
    opened = made(store)
    lost = add(store, opened, LOST)
    kept = store.get(slot_name(lost))
    remove_key(store, opened, lost)
    with pytest.raises(errors.Misconfigured, match="RP003"):
        open_keys(store, LOST)
    rotate_all(store)
    store.put_if_absent(slot_name(lost), kept)
    rotate_all(store)

    theirs = open_keys(store, LOST)

    assert len(theirs.masters) == 1
    with pytest.raises(errors.Misconfigured, match="RP008: found keys/generation-00000002, made without this key"):
        open_repository(store, LOST)
    assert open_repository(store, LOST, is_for_reading=True).id == opened.description.id
    assert opens(store, PASSPHRASE) == 3


def test_the_documented_limit_until_a_rotation_a_removed_slot_can_be_put_back() -> None:
    """It then shows in the list, and so in the plan of the rotation."""
    store = MemoryStore()
    opened = made(store)
    lost = add(store, opened, LOST)
    kept = store.get(slot_name(lost))
    remove_key(store, opened, lost)

    store.put_if_absent(slot_name(lost), kept)

    assert lost in current_slots(store, opened)
    assert opens(store, LOST) == 1


def test_the_last_key_is_never_removed() -> None:
    """Not by one, nor by two who remove each other's at the same moment."""
    store = MemoryStore()
    opened = made(store)
    with pytest.raises(errors.Refused, match=r"RP009: found slot .* to be the last"):
        remove_key(store, opened, str(opened.slot))
    other = add(store, opened, OTHER)

    class Racing(FaultyStore):
        def delete(self, name: str) -> None:
            store.delete(slot_name(str(opened.slot)))
            super().delete(name)

    with pytest.raises(errors.Refused, match="RP009"):
        remove_key(Racing(store), opened, other)
    assert opens(store, OTHER) == 1


def test_a_slot_that_does_not_open_everything_is_no_reason_to_remove_the_last_that_does() -> None:
    """One from before a rotation does not count, one slipped in neither."""
    store = MemoryStore()
    opened = made(store)
    other = add(store, opened, OTHER)
    kept = store.get(slot_name(other))
    remove_key(store, opened, other)
    rotated = rotate_all(store).opened
    store.put_if_absent(slot_name(other), kept)
    slip_in(store, opened.description, keys.new_master())

    with pytest.raises(errors.Refused, match="RP009"):
        remove_key(store, rotated, str(opened.slot))
    remove_key(store, rotated, other)


def test_an_unencrypted_repository_has_no_keys(store: Store) -> None:
    """Every verb says so."""
    opened = made(store, None)
    verbs: list[Callable[[], object]] = [
        lambda: list_keys(store, opened),
        lambda: add(store, opened, OTHER),
        lambda: add_recovery_key(store, opened, name="safe", clock=lambda: NOON),
        lambda: remove_key(store, opened, "00" * 16),
        lambda: rotate(store, opened, slots=(), clock=lambda: NOON),
    ]
    for verb in verbs:
        with pytest.raises(errors.Misconfigured, match=r"RP003: found repository .* unencrypted"):
            verb()


@pytest.mark.parametrize("passphrase", ["", "a recovery key"])
def test_what_cannot_be_a_passphrase_is_refused(passphrase: str) -> None:
    """At creation and when one is added."""
    store = MemoryStore()
    opened = made(store)
    _, recovery = add_recovery_key(store, opened, name="safe", clock=lambda: NOON)
    given = Secret(passphrase and recovery.reveal())

    with pytest.raises(errors.Misconfigured, match="RP003"):
        add(store, opened, given)
    with pytest.raises(errors.Misconfigured, match="RP003"):
        made(MemoryStore(), given)


def test_a_name_must_be_printable() -> None:
    """It is shown on terminals."""
    store = MemoryStore()
    opened = made(store)
    for name in ("", "x" * 101, "a\x1b[2J"):
        with pytest.raises(errors.Refused, match="RP009"):
            add(store, opened, OTHER, name)


def test_a_mistyped_recovery_key_is_told_before_anything_is_tried() -> None:
    """By the place of its group; one of another repository is RP003 as any other."""
    store = MemoryStore()
    opened = made(store)
    _, text = add_recovery_key(store, opened, name="safe", clock=lambda: NOON)
    groups = text.reveal().split("-")
    groups[3] = ("A" if groups[3][0] != "A" else "B") + groups[3][1:]
    _, stranger = add_recovery_key(MemoryStore(), opened, name="safe", clock=lambda: NOON)

    with pytest.raises(errors.Misconfigured, match="RP003: found group 3 of the recovery key"):
        open_keys(store, Secret("-".join(groups)))
    with pytest.raises(errors.Misconfigured, match=r"RP003: found 2 keys .* none opened by the recovery"):
        open_keys(store, stranger)
