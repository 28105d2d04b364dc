"""Keys that somebody without the right one altered: slipped in, exchanged, malformed, hidden; all are noticed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from key_samples import OTHER, add, copied, made, opens, rotate_all, slip_in, slot_of
from repository_samples import NOON, PASSPHRASE
from safepoint import errors
from safepoint.model.json_value import Json
from safepoint.repository import open_repository
from safepoint.repository.names import generation_name, slot_name
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing import keys
from safepoint.repository.sealing.checked_json import from_checked_json, to_checked_json
from safepoint.repository.sealing.generations import new_generation
from safepoint.repository.sealing.key_listing import remembered, require_remembered
from safepoint.stores import MemoryStore, Store

_GENERATION = generation_name(2)


def _replace(store: Store, name: str, data: bytes) -> None:
    """What whoever can write to the store can do."""
    store.delete(name)
    store.put_if_absent(name, data)


def _edit(store: Store, name: str, change: Callable[[dict[str, Json]], object]) -> None:
    """The object with other fields and a checksum that fits."""
    value = dict(from_checked_json(name, store.get(name)).all)
    change(value)
    _replace(store, name, to_checked_json(value))


def test_a_slot_that_was_slipped_in_gets_nothing() -> None:
    """Made without the keys it is shown with its fault, and a rotation leaves it out."""
    store = MemoryStore()
    opened = made(store)
    foreign = slip_in(store, opened.description, keys.new_master())

    assert slot_of(store, opened, foreign).fault is not None
    assert foreign not in rotate_all(store).slots
    assert opens(store, PASSPHRASE) == 2


def test_a_lost_key_slips_in_no_slot_after_the_rotation() -> None:
    """Whoever has only the older masters makes slots that open only what he could open."""
    store = MemoryStore()
    opened = made(store)
    rotate_all(store)
    foreign = slip_in(store, opened.description, opened.masters[0][1])
    now = open_keys(store, PASSPHRASE)

    slot = slot_of(store, now, foreign)

    assert (slot.generations, slot.is_current) == ((1,), False)
    assert foreign not in rotate_all(store).slots


def test_a_public_key_that_was_exchanged_is_damage() -> None:
    """A slot's id is a digest of its public key: under a known id no other is ever used."""
    store = MemoryStore()
    opened = made(store)
    other = add(store, opened, OTHER)
    _edit(store, slot_name(other), lambda slot: slot.update(public="11" * 32))

    assert "one id in name and content" in str(slot_of(store, opened, other).fault)
    assert other not in rotate_all(store).slots
    with pytest.raises(errors.Damaged, match="RP005"):
        open_keys(store, OTHER)


_TAMPERED: dict[str, Callable[[dict[str, Json]], object]] = {
    "cost": lambda slot: slot.update(kdf={**slot["kdf"], "n": 2}),  # type: ignore[dict-item]
    "salt": lambda slot: slot.update(kdf={**slot["kdf"], "salt": "00" * 32}),  # type: ignore[dict-item]
    "name": lambda slot: slot.update(name="dba"),
    "created": lambda slot: slot.update(created="2027-01-01T00:00:00+00:00"),
}


@pytest.mark.parametrize("field", _TAMPERED)
def test_a_slot_with_another_field_opens_for_nobody(field: str) -> None:
    """Everything beside the sealed masters is sealed with them; the others see it, too."""
    store = MemoryStore()
    opened = made(store)
    other = add(store, opened, OTHER)
    _edit(store, slot_name(other), _TAMPERED[field])

    with pytest.raises(errors.Misconfigured, match="RP003: found 2 keys"):
        open_keys(store, OTHER)
    assert "does not hold" in str(slot_of(store, opened, other).fault)


_MALFORMED: dict[str, Callable[[dict[str, Json]], object]] = {
    "no field": lambda slot: slot.pop("mac"),
    "an unknown field": lambda slot: slot.update(more=1),
    "a kind": lambda slot: slot.update(kind="none"),
    "another kind": lambda slot: slot.update(kind="recovery"),
    "a type": lambda slot: slot.update(position="1"),
    "a truth": lambda slot: slot.update(position=True),
    "a length": lambda slot: slot.update(sealed="00"),
    "no hexadecimal": lambda slot: slot.update(mac="Z" * 64),
    "an instant": lambda slot: slot.update(created="yesterday"),
    "no zone": lambda slot: slot.update(created="2027-01-01T00:00:00"),
    "a name": lambda slot: slot.update(name="a\x1b[2Jb"),
    "no kdf": lambda slot: slot.update(kdf=[]),
    "n": lambda slot: slot.update(kdf={**slot["kdf"], "n": 1000}),  # type: ignore[dict-item]
    "memory": lambda slot: slot.update(kdf={**slot["kdf"], "n": 1 << 20, "r": 9}),  # type: ignore[dict-item]
    "time": lambda slot: slot.update(kdf={**slot["kdf"], "p": 1 << 20}),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("case", _MALFORMED)
def test_a_malformed_slot_is_damage_before_anything_is_allocated(case: str) -> None:
    """Every field has one form; with a good slot beside it the repository opens all the same."""
    store = MemoryStore()
    opened = made(store)
    other = add(store, opened, OTHER)
    _edit(store, slot_name(other), _MALFORMED[case])

    with pytest.raises(errors.Damaged, match="RP005"):
        open_keys(store, OTHER)
    assert opens(store, PASSPHRASE) == 1


@pytest.mark.parametrize(
    "data", [b"", b"[" * 100_000, b"{}", b"\xff", b'{"version": 1e999, "checksum": 1}', b"x" * 3000000]
)
def test_garbage_in_place_of_a_slot_is_damage(data: bytes) -> None:
    """Of any size."""
    store = MemoryStore()
    _replace(store, slot_name(str(made(store).slot)), data)

    with pytest.raises(errors.Damaged, match="RP005"):
        open_keys(store, PASSPHRASE)


def test_a_wrap_moved_to_another_slot_or_position_opens_nothing() -> None:
    """Each is sealed with family, repository, position, generation and slot."""
    store = MemoryStore()
    opened = made(store)
    other = add(store, opened, OTHER)
    rotate_all(store)
    moved = copied(store)

    def exchange(generation: dict[str, Json]) -> None:
        wraps: dict[str, Json] = dict(generation["wraps"])  # type: ignore[arg-type]
        wraps[other], wraps[str(opened.slot)] = wraps[str(opened.slot)], wraps[other]
        generation["wraps"] = wraps

    _edit(moved, _GENERATION, exchange)
    renamed = copied(store)
    renamed.put_if_absent(generation_name(3), store.get(_GENERATION))
    forged = copied(store)
    _edit(forged, _GENERATION, lambda generation: generation.update(generation=777))

    for attacked in (moved, renamed, forged):
        for passphrase in (PASSPHRASE, OTHER):
            with pytest.raises(errors.Damaged, match="RP005"):
                open_repository(attacked, passphrase)


def test_a_generation_made_without_the_newest_master_is_refused() -> None:
    """Whoever was shut out knows the first master, and cannot make a third generation that others would seal with."""
    store = MemoryStore()
    opened = made(store)
    public = {str(opened.slot): bytes.fromhex(str(_fields(store, slot_name(str(opened.slot)))["public"]))}
    rotate_all(store)
    theirs = (*opened.masters, (300, keys.new_master()), (600, keys.new_master()))
    name, data = new_generation(opened.description, theirs, public, created=NOON)
    store.put_if_absent(name, data)

    found = open_keys(store, PASSPHRASE)

    assert found.shortfall is not None
    assert found.shortfall.spec is errors.RP005
    assert len(found.masters) == 2
    with pytest.raises(errors.Damaged):
        open_repository(store, PASSPHRASE)


def _fields(store: Store, name: str) -> dict[str, Json]:
    return dict(from_checked_json(name, store.get(name)).all)


def test_a_hidden_generation_is_noticed() -> None:
    """By a later one, by a slot made since, by what was sealed with it, by what was remembered."""
    store = MemoryStore()
    opened = made(store)
    rotated = rotate_all(store).opened
    memory = remembered(rotated)
    by_later, by_slot, wholly = copied(store), copied(store), copied(store)
    rotate_all(by_later)
    add(by_slot, rotated, OTHER)
    for attacked in (by_later, by_slot, wholly):
        attacked.delete(_GENERATION)

    for attacked in (by_later, by_slot):
        with pytest.raises(errors.Damaged, match=f"RP004: found no object {_GENERATION}"):
            open_repository(attacked, PASSPHRASE)
    assert opens(by_slot, OTHER) == 2
    # The documented limit: with every trace gone below keys/, only what is elsewhere tells.
    fooled = open_keys(wholly, PASSPHRASE)
    assert fooled.shortfall is None
    with pytest.raises(errors.Misconfigured, match="RP008"):
        keys.require_generation(fooled.keyring, rotated.keyring.new_salt(), "packs/x")
    with pytest.raises(errors.Misconfigured, match=r"RP008: found generation 2-.., which was opened here before, no"):
        require_remembered(fooled, memory)
    require_remembered(rotated, remembered(opened))


def test_an_exchanged_generation_is_noticed_by_who_remembers() -> None:
    """The documented limit: who was shut out and writes to the store can replay a rotation of his own."""
    store = MemoryStore()
    made(store)
    before = copied(store)
    memory = remembered(rotate_all(store).opened)
    rotate_all(before)
    replayed = open_keys(before, PASSPHRASE)

    with pytest.raises(errors.Misconfigured, match=r"RP008: .* another one"):
        require_remembered(replayed, memory)
