"""Keys: who opens what, attacked by whoever can write to the store, killed and raced at every store call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from repository_samples import CHEAP, NOON, PASSPHRASE
from safepoint import errors
from safepoint.model.json_value import Json
from safepoint.model.secret import Secret
from safepoint.repository import create_repository, open_repository
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing import keys
from safepoint.repository.sealing.checked_json import from_checked_json, to_checked_json
from safepoint.repository.sealing.generations import generation_name, new_generation
from safepoint.repository.sealing.key_changes import (
    KeySlot,
    Rotation,
    add_key,
    add_recovery_key,
    list_keys,
    remembered,
    remove_key,
    require_newest,
    require_remembered,
    rotate,
    sync_generations,
)
from safepoint.repository.sealing.keys import OpenedKeys
from safepoint.repository.sealing.objects import read_object, seal_object
from safepoint.repository.sealing.seal import BrokenSeal, Kind
from safepoint.repository.sealing.slots import Opener, new_slot, slot_name
from safepoint.stores import MemoryStore, Store
from safepoint.stores.faults import Fault, FaultyStore, Killed
from safepoint.stores.port import Data, NotFound

OTHER = Secret("another passphrase")
LOST = Secret("a passphrase that was lost")
_GENERATION = generation_name(2)


def _made(store: Store, passphrase: Secret | None = PASSPHRASE) -> OpenedKeys:
    """A new repository's keys, opened."""
    create_repository(store, passphrase, cost=CHEAP, clock=lambda: NOON)
    return open_keys(store, passphrase)


def _sibling(store: Store, of: OpenedKeys, passphrase: Secret | None = OTHER) -> OpenedKeys:
    create_repository(store, passphrase, cost=CHEAP, clock=lambda: NOON, sibling_of=of)
    return open_keys(store, passphrase)


def _add(store: Store, opened: OpenedKeys, passphrase: Secret, name: str = "ops") -> str:
    return add_key(store, opened, passphrase, name=name, cost=CHEAP, clock=lambda: NOON)


def _current(store: Store, opened: OpenedKeys) -> set[str]:
    return {slot.id for slot in list_keys(store, opened) if slot.is_current}


def _rotate(store: Store, passphrase: Secret = PASSPHRASE) -> Rotation:
    opened = open_keys(store, passphrase)
    return rotate(store, opened, slots=_current(store, opened), clock=lambda: NOON)


def _opens(store: Store, passphrase: Secret) -> int:
    """How many generations it opens, all that there are; what it seals, it opens."""
    opened = open_keys(store, passphrase)
    assert opened.shortfall is None
    open_repository(store, passphrase)
    return len(opened.masters)


def _replace(store: Store, name: str, data: bytes) -> None:
    """What whoever can write to the store can do."""
    store.delete(name)
    store.put_if_absent(name, data)


def _edit(store: Store, name: str, change: Callable[[dict[str, Json]], object]) -> None:
    """The object with other fields and a checksum that fits."""
    value = dict(from_checked_json(name, store.get(name)).all)
    change(value)
    _replace(store, name, to_checked_json(value))


def _copied(store: Store) -> MemoryStore:
    copy = MemoryStore()
    for name in store.list(""):
        copy.put_if_absent(name, store.get(name))
    return copy


def _slot(store: Store, opened: OpenedKeys, slot_id: str) -> KeySlot:
    return next(slot for slot in list_keys(store, opened) if slot.id == slot_id)


def test_every_key_opens_everything_through_all_generations(store: Store) -> None:
    """Passphrases and recovery keys, made before, between and after two rotations by different people."""
    opened = _made(store)
    _add(store, opened, OTHER)
    _, before = add_recovery_key(store, opened, name="safe", clock=lambda: NOON)
    _rotate(store)
    _, between = add_recovery_key(store, open_keys(store, OTHER), name="notary", clock=lambda: NOON)
    _rotate(store, between)
    _, after = add_recovery_key(store, open_keys(store, before), name="bank", clock=lambda: NOON)

    masters = [open_keys(store, key).masters for key in (PASSPHRASE, OTHER, before, between, after)]

    assert len(masters[0]) == 3
    assert masters == [masters[0]] * 5
    assert open_repository(store, Secret(after.reveal().lower().replace("-", " "))).id == opened.description.id


def test_what_is_sealed_before_and_after_a_rotation_is_read() -> None:
    """The newest generation seals, each opens its own, and an older key says what it lacks."""
    store = MemoryStore()
    old = _made(store)
    store.put_if_absent("records/a/1", seal_object(old.keyring, Kind.RECORD, "records/a/1", b"old"))
    new = _rotate(store).opened
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
    opened = _made(store)
    lost = _add(store, opened, LOST, "laptop")
    kept = store.get(slot_name(lost))
    remove_key(store, opened, lost)
    safe, _ = add_recovery_key(store, opened, name="safe", clock=lambda: NOON)
    _rotate(store)
    store.put_if_absent(slot_name(lost), kept)

    listed = {slot.name: slot for slot in list_keys(store, open_keys(store, PASSPHRASE))}

    assert listed["first"].is_own
    assert listed["safe"] == replace(listed["first"], id=safe, kind=listed["safe"].kind, name="safe", is_own=False)
    assert (listed["laptop"].generations, listed["laptop"].is_current, listed["laptop"].fault) == ((1,), False, None)


def test_a_removed_passphrase_that_is_put_back_is_shut_out_by_a_rotation() -> None:
    """Its slot, from a copy of the store, opens nothing that is sealed since, and no later rotation takes it in."""
    store = MemoryStore()
    opened = _made(store)
    lost = _add(store, opened, LOST)
    kept = store.get(slot_name(lost))
    remove_key(store, opened, lost)
    with pytest.raises(errors.Misconfigured, match="RP003"):
        open_keys(store, LOST)
    _rotate(store)
    store.put_if_absent(slot_name(lost), kept)
    _rotate(store)

    theirs = open_keys(store, LOST)

    assert len(theirs.masters) == 1
    with pytest.raises(errors.Misconfigured, match="RP008: found keys/generation-00000002, made without this key"):
        open_repository(store, LOST)
    assert open_repository(store, LOST, is_for_reading=True).id == opened.description.id
    assert _opens(store, PASSPHRASE) == 3


def test_the_documented_limit_until_a_rotation_a_removed_slot_can_be_put_back() -> None:
    """It then shows in the list, and so in the plan of the rotation."""
    store = MemoryStore()
    opened = _made(store)
    lost = _add(store, opened, LOST)
    kept = store.get(slot_name(lost))
    remove_key(store, opened, lost)

    store.put_if_absent(slot_name(lost), kept)

    assert lost in _current(store, opened)
    assert _opens(store, LOST) == 1


def test_the_last_key_is_never_removed() -> None:
    """Not by one, nor by two who remove each other's at the same moment."""
    store = MemoryStore()
    opened = _made(store)
    with pytest.raises(errors.Refused, match=r"RP009: found slot .* to be the last"):
        remove_key(store, opened, str(opened.slot))
    other = _add(store, opened, OTHER)

    class Racing(FaultyStore):
        def delete(self, name: str) -> None:
            store.delete(slot_name(str(opened.slot)))
            super().delete(name)

    with pytest.raises(errors.Refused, match="RP009"):
        remove_key(Racing(store), opened, other)
    assert _opens(store, OTHER) == 1


def test_a_slot_that_does_not_open_everything_is_no_reason_to_remove_the_last_that_does() -> None:
    """One from before a rotation does not count, one slipped in neither."""
    store = MemoryStore()
    opened = _made(store)
    other = _add(store, opened, OTHER)
    kept = store.get(slot_name(other))
    remove_key(store, opened, other)
    rotated = _rotate(store).opened
    store.put_if_absent(slot_name(other), kept)
    _slip_in(store, opened.description, keys.new_master())

    with pytest.raises(errors.Refused, match="RP009"):
        remove_key(store, rotated, str(opened.slot))
    remove_key(store, rotated, other)


def _slip_in(store: Store, description: keys.Description, master: bytes) -> str:
    """A slot made by who has no key of the repository, or not all of them."""
    slot_id, data = new_slot(description, ((1, master),), Opener(LOST), name="dba", cost=CHEAP, created=NOON)
    store.put_if_absent(slot_name(slot_id), data)
    return slot_id


def test_a_slot_that_was_slipped_in_gets_nothing() -> None:
    """Made without the keys it is shown with its fault, and a rotation leaves it out."""
    store = MemoryStore()
    opened = _made(store)
    foreign = _slip_in(store, opened.description, keys.new_master())

    assert _slot(store, opened, foreign).fault is not None
    assert foreign not in _rotate(store).slots
    assert _opens(store, PASSPHRASE) == 2


def test_a_lost_key_slips_in_no_slot_after_the_rotation() -> None:
    """Whoever has only the older masters makes slots that open only what he could open."""
    store = MemoryStore()
    opened = _made(store)
    _rotate(store)
    foreign = _slip_in(store, opened.description, opened.masters[0][1])
    now = open_keys(store, PASSPHRASE)

    slot = _slot(store, now, foreign)

    assert (slot.generations, slot.is_current) == ((1,), False)
    assert foreign not in _rotate(store).slots


def test_a_public_key_that_was_exchanged_is_damage() -> None:
    """A slot's id is a digest of its public key: under a known id no other is ever used."""
    store = MemoryStore()
    opened = _made(store)
    other = _add(store, opened, OTHER)
    _edit(store, slot_name(other), lambda slot: slot.update(public="11" * 32))

    assert "one id in name and content" in str(_slot(store, opened, other).fault)
    assert other not in _rotate(store).slots
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
    opened = _made(store)
    other = _add(store, opened, OTHER)
    _edit(store, slot_name(other), _TAMPERED[field])

    with pytest.raises(errors.Misconfigured, match="RP003: found 2 keys"):
        open_keys(store, OTHER)
    assert "does not hold" in str(_slot(store, opened, other).fault)


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
    opened = _made(store)
    other = _add(store, opened, OTHER)
    _edit(store, slot_name(other), _MALFORMED[case])

    with pytest.raises(errors.Damaged, match="RP005"):
        open_keys(store, OTHER)
    assert _opens(store, PASSPHRASE) == 1


@pytest.mark.parametrize(
    "data", [b"", b"[" * 100_000, b"{}", b"\xff", b'{"version": 1e999, "checksum": 1}', b"x" * 3000000]
)
def test_garbage_in_place_of_a_slot_is_damage(data: bytes) -> None:
    """Of any size."""
    store = MemoryStore()
    _replace(store, slot_name(str(_made(store).slot)), data)

    with pytest.raises(errors.Damaged, match="RP005"):
        open_keys(store, PASSPHRASE)


def test_a_wrap_moved_to_another_slot_or_position_opens_nothing() -> None:
    """Each is sealed with family, repository, position, generation and slot."""
    store = MemoryStore()
    opened = _made(store)
    other = _add(store, opened, OTHER)
    _rotate(store)
    moved = _copied(store)

    def exchange(generation: dict[str, Json]) -> None:
        wraps: dict[str, Json] = dict(generation["wraps"])  # type: ignore[arg-type]
        wraps[other], wraps[str(opened.slot)] = wraps[str(opened.slot)], wraps[other]
        generation["wraps"] = wraps

    _edit(moved, _GENERATION, exchange)
    renamed = _copied(store)
    renamed.put_if_absent(generation_name(3), store.get(_GENERATION))
    forged = _copied(store)
    _edit(forged, _GENERATION, lambda generation: generation.update(generation=777))

    for attacked in (moved, renamed, forged):
        for passphrase in (PASSPHRASE, OTHER):
            with pytest.raises(errors.Damaged, match="RP005"):
                open_repository(attacked, passphrase)


def test_a_generation_made_without_the_newest_master_is_refused() -> None:
    """Whoever was shut out knows the first master, and cannot make a third generation that others would seal with."""
    store = MemoryStore()
    opened = _made(store)
    public = {str(opened.slot): bytes.fromhex(str(_fields(store, slot_name(str(opened.slot)))["public"]))}
    _rotate(store)
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
    opened = _made(store)
    rotated = _rotate(store).opened
    memory = remembered(rotated)
    by_later, by_slot, wholly = _copied(store), _copied(store), _copied(store)
    _rotate(by_later)
    _add(by_slot, rotated, OTHER)
    for attacked in (by_later, by_slot, wholly):
        attacked.delete(_GENERATION)

    for attacked in (by_later, by_slot):
        with pytest.raises(errors.Damaged, match=f"RP004: found no object {_GENERATION}"):
            open_repository(attacked, PASSPHRASE)
    assert _opens(by_slot, OTHER) == 2
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
    _made(store)
    before = _copied(store)
    memory = remembered(_rotate(store).opened)
    _rotate(before)
    replayed = open_keys(before, PASSPHRASE)

    with pytest.raises(errors.Misconfigured, match=r"RP008: .* another one"):
        require_remembered(replayed, memory)


def test_one_of_two_rotations_wins() -> None:
    """Two that saw the same slots never both make the second generation."""
    store = MemoryStore()
    opened = _made(store)
    slots = _current(store, opened)
    won = rotate(store, opened, slots=slots, clock=lambda: NOON)

    with pytest.raises(errors.Refused, match="RP009") as caught:
        rotate(store, opened, slots=slots, clock=lambda: NOON)

    assert caught.value.changed == errors.NOTHING_CHANGED
    assert open_keys(store, PASSPHRASE).masters == won.opened.masters


def test_a_writer_that_opened_before_a_rotation_learns_of_it() -> None:
    """It must open anew, or it would go on sealing for whoever was shut out."""
    store = MemoryStore()
    opened = _made(store)
    require_newest(store, opened.keyring)
    rotated = _rotate(store).opened

    with pytest.raises(errors.Misconfigured, match=r"RP008: .* made since"):
        require_newest(store, opened.keyring)
    require_newest(store, rotated.keyring)


def test_of_two_who_were_told_that_they_won_one_learns_better() -> None:
    """A store without conditional put says yes to both; what is read back decides."""
    store = MemoryStore()
    opened = _made(store)

    class Overwriting(FaultyStore):
        def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
            super().put_if_absent(name, data, durable=durable)
            store.delete(name)
            rotate(store, opened, slots=_current(store, opened), clock=lambda: NOON)
            return True

    with pytest.raises(errors.Refused, match="RP009"):
        rotate(Overwriting(store), opened, slots=_current(store, opened), clock=lambda: NOON)
    assert _opens(store, PASSPHRASE) == 2


def test_a_rotation_gives_nothing_to_slots_that_were_not_shown() -> None:
    """A slot added or removed since the plan stops it; one added in the last moment is named, one removed too."""
    store = MemoryStore()
    opened = _made(store)
    shown = _current(store, opened)
    other = _add(store, opened, OTHER)
    with pytest.raises(errors.Refused, match="RP009: found the current slots"):
        rotate(store, opened, slots=shown, clock=lambda: NOON)

    class Racing(FaultyStore):
        def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
            late.append(_add(store, opened, LOST))
            store.delete(slot_name(other))
            return super().put_if_absent(name, data, durable=durable)

    late: list[str] = []
    done = rotate(Racing(store), opened, slots=_current(store, opened), clock=lambda: NOON)

    assert (done.left_out, done.gone) == ((late[0],), (other,))
    with pytest.raises(errors.Misconfigured, match="RP008"):
        open_repository(store, LOST)


def test_a_key_added_while_another_rotates_is_withdrawn() -> None:
    """The one who adds learns of the rotation and leaves no half slot."""
    store = MemoryStore()
    opened = _made(store)

    class Racing(FaultyStore):
        def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
            rotate(store, opened, slots=_current(store, opened), clock=lambda: NOON)
            return super().put_if_absent(name, data, durable=durable)

    with pytest.raises(errors.Refused, match="RP009"):
        _add(Racing(store), opened, OTHER)
    assert [slot.name for slot in list_keys(store, open_keys(store, PASSPHRASE))] == ["first"]


_CHANGES: dict[str, Callable[[Store], object]] = {
    "add": lambda store: _add(store, open_keys(store, PASSPHRASE), LOST),
    "recovery": lambda store: add_recovery_key(store, open_keys(store, PASSPHRASE), name="safe", clock=lambda: NOON),
    "remove": lambda store: remove_key(store, open_keys(store, PASSPHRASE), _slot_called(store, "extra")),
    "rotate": _rotate,
}


def _slot_called(store: Store, name: str) -> str:
    return next(slot.id for slot in list_keys(store, open_keys(store, PASSPHRASE)) if slot.name == name)


def _prepared() -> MemoryStore:
    store = MemoryStore()
    opened = _made(store)
    _add(store, opened, OTHER)
    _add(store, opened, Secret("extra"), "extra")
    _rotate(store)
    return store


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.TORN])
@pytest.mark.parametrize("change", _CHANGES)
def test_killed_or_failed_at_any_call_every_key_that_should_open_opens(change: str, fault: Fault) -> None:
    """Add, remove and rotate are one write each: all or nothing, and run again they end well."""
    before = _prepared()
    counted = FaultyStore(_copied(before))
    _CHANGES[change](counted)
    failed: list[BaseException] = []
    for call in range(1, len(counted.calls) + 1):
        store = _copied(before)
        try:
            _CHANGES[change](FaultyStore(store, fault, at=call))
        except (Killed, errors.SafepointError) as error:
            failed.append(error)
        generations = {_opens(store, passphrase) for passphrase in (PASSPHRASE, OTHER)}
        assert generations <= {2, 3}
        assert len(generations) == 1
        if change != "remove":
            _CHANGES[change](store)
            assert _opens(store, OTHER) == _opens(store, PASSPHRASE)
    assert failed or (change, fault) == ("remove", Fault.FULL)  # it puts nothing


def test_a_key_whose_maker_got_no_answer_is_not_left_behind() -> None:
    """A recovery key that was never printed must not count as one that opens."""
    store = MemoryStore()
    opened = _made(store)
    counted = FaultyStore(_copied(store))
    add_recovery_key(counted, opened, name="safe", clock=lambda: NOON)
    (put,) = (number for number, call in enumerate(counted.calls, start=1) if call.startswith("put"))

    with pytest.raises(errors.Unreachable):
        add_recovery_key(FaultyStore(store, Fault.LOST_ANSWER, at=put), opened, name="safe", clock=lambda: NOON)

    assert _current(store, opened) == {opened.slot}


@pytest.mark.parametrize("fault", [Fault.KILL, Fault.KILL_AFTER, Fault.POWER_CUT])
def test_a_killed_creation_can_be_done_again(fault: Fault) -> None:
    """What is left is a slot of no repository, which counts for nothing in the next."""
    counted = FaultyStore(MemoryStore())
    _made(counted)
    for call in range(1, len(counted.calls) + 1):
        store = MemoryStore()
        with pytest.raises(Killed):
            _made(FaultyStore(store, fault, at=call))
        try:
            opened = open_keys(store, PASSPHRASE)
        except errors.Misconfigured:
            opened = _made(store)
        assert _current(store, opened) == {opened.slot}


def test_an_unencrypted_repository_has_no_keys(store: Store) -> None:
    """Every verb says so."""
    opened = _made(store, None)
    verbs: list[Callable[[], object]] = [
        lambda: list_keys(store, opened),
        lambda: _add(store, opened, OTHER),
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
    opened = _made(store)
    _, recovery = add_recovery_key(store, opened, name="safe", clock=lambda: NOON)
    given = Secret(passphrase and recovery.reveal())

    with pytest.raises(errors.Misconfigured, match="RP003"):
        _add(store, opened, given)
    with pytest.raises(errors.Misconfigured, match="RP003"):
        _made(MemoryStore(), given)


def test_a_name_must_be_printable() -> None:
    """It is shown on terminals."""
    store = MemoryStore()
    opened = _made(store)
    for name in ("", "x" * 101, "a\x1b[2J"):
        with pytest.raises(errors.Refused, match="RP009"):
            _add(store, opened, OTHER, name)


def test_a_sibling_opens_what_the_other_sealed() -> None:
    """Same family, same masters, byte for byte; its own id and passphrase."""
    main, dr = MemoryStore(), MemoryStore()
    _made(main)
    opened = _rotate(main).opened
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
    opened = _made(main)
    sibling = _sibling(dr, opened)
    name = slot_name(str(sibling.slot))
    main.put_if_absent(name, dr.get(name))

    with pytest.raises(errors.Misconfigured, match="RP003"):
        open_keys(main, OTHER)
    assert _slot(main, opened, str(sibling.slot)).fault is not None


def test_siblings_that_rotated_apart_give_each_other_their_generations() -> None:
    """Their generations have different numbers; afterwards both open all, and rotate on."""
    main, dr = MemoryStore(), MemoryStore()
    _sibling(dr, _made(main))
    here, there = _rotate(main).opened, _rotate(dr, OTHER).opened

    there = sync_generations(here, dr, there, clock=lambda: NOON)
    here = sync_generations(there, main, here, clock=lambda: NOON)

    assert dict(here.masters) == dict(there.masters)
    assert len(here.masters) == 3
    assert here.keyring.generation == there.keyring.generation
    assert dict(open_keys(main, PASSPHRASE).masters) == dict(open_keys(dr, OTHER).masters) == dict(here.masters)
    assert sync_generations(here, dr, there, clock=lambda: NOON) == there
    assert _rotate(main).opened.keyring.generation > here.keyring.generation
    assert _opens(dr, OTHER) == 3


def test_two_masters_of_one_number_in_a_family_are_refused() -> None:
    """By lanes this is rare (never between a repository and the sibling made from it); it is found all the same."""
    main, dr = MemoryStore(), MemoryStore()
    here = _made(main)
    there = _sibling(dr, here)
    clashing = [
        replace(one, keyring=replace(one.keyring, masters={**one.keyring.masters, 300: keys.new_master()}))
        for one in (here, there)
    ]

    with pytest.raises(errors.Refused, match="RP009: found two masters of generation 2-2c"):
        sync_generations(clashing[0], dr, clashing[1], clock=lambda: NOON)
    with pytest.raises(errors.Refused, match="RP009: found families"):
        sync_generations(_made(MemoryStore()), dr, there, clock=lambda: NOON)


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
    opened = _made(MemoryStore(), None)
    sibling = _sibling(MemoryStore(), opened, None)

    assert sibling.keyring.masters == opened.keyring.masters
    assert sibling.keyring.family == opened.keyring.family
    with pytest.raises(errors.Misconfigured, match="RP003"):
        _sibling(MemoryStore(), opened)
    with pytest.raises(errors.Misconfigured, match="RP003"):
        _sibling(MemoryStore(), _made(MemoryStore()), None)


def test_a_mistyped_recovery_key_is_told_before_anything_is_tried() -> None:
    """By the place of its group; one of another repository is RP003 as any other."""
    store = MemoryStore()
    opened = _made(store)
    _, text = add_recovery_key(store, opened, name="safe", clock=lambda: NOON)
    groups = text.reveal().split("-")
    groups[3] = ("A" if groups[3][0] != "A" else "B") + groups[3][1:]
    _, stranger = add_recovery_key(MemoryStore(), opened, name="safe", clock=lambda: NOON)

    with pytest.raises(errors.Misconfigured, match="RP003: found group 3 of the recovery key"):
        open_keys(store, Secret("-".join(groups)))
    with pytest.raises(errors.Misconfigured, match=r"RP003: found 2 keys .* none opened by the recovery"):
        open_keys(store, stranger)


def test_opening_writes_nothing_and_survives_a_slot_that_goes_away() -> None:
    """Read-only credentials suffice; a slot removed between listing and reading is passed over."""
    store = _prepared()

    class Vanishing(FaultyStore):
        def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
            raise AssertionError((name, data, durable))

        def get_range(self, name: str, offset: int, length: int) -> bytes:
            if name == slot_name(gone):
                raise NotFound(name)
            return super().get_range(name, offset, length)

    gone = _slot_called(store, "extra")
    assert len(open_keys(Vanishing(store), PASSPHRASE).masters) == 2
    assert gone not in {slot.id for slot in list_keys(Vanishing(store), open_keys(store, PASSPHRASE))}
