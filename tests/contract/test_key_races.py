"""Keys that two change at once, or one who dies: all or nothing, and each learns how it ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from key_samples import LOST, OTHER, add, copied, current_slots, made, opens, rotate_all
from repository_samples import NOON, PASSPHRASE
from safepoint import errors
from safepoint.model.secret import Secret
from safepoint.repository import open_repository
from safepoint.repository.names import slot_name
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing.key_changes import add_recovery_key, remove_key, rotate
from safepoint.repository.sealing.key_listing import list_keys, require_newest
from safepoint.stores import MemoryStore, Store
from safepoint.stores.faults import Fault, FaultyStore, Killed
from safepoint.stores.port import Data, NotFound


def test_one_of_two_rotations_wins() -> None:
    """Two that saw the same slots never both make the second generation."""
    store = MemoryStore()
    opened = made(store)
    slots = current_slots(store, opened)
    won = rotate(store, opened, slots=slots, clock=lambda: NOON)

    with pytest.raises(errors.Refused, match="RP009") as caught:
        rotate(store, opened, slots=slots, clock=lambda: NOON)

    assert caught.value.changed == errors.NOTHING_CHANGED
    assert open_keys(store, PASSPHRASE).masters == won.opened.masters


def test_a_writer_that_opened_before_a_rotation_learns_of_it() -> None:
    """It must open anew, or it would go on sealing for whoever was shut out."""
    store = MemoryStore()
    opened = made(store)
    require_newest(store, opened.keyring)
    rotated = rotate_all(store).opened

    with pytest.raises(errors.Misconfigured, match=r"RP008: .* made since"):
        require_newest(store, opened.keyring)
    require_newest(store, rotated.keyring)


def test_of_two_who_were_told_that_they_won_one_learns_better() -> None:
    """A store without conditional put says yes to both; what is read back decides."""
    store = MemoryStore()
    opened = made(store)

    class Overwriting(FaultyStore):
        def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
            super().put_if_absent(name, data, durable=durable)
            store.delete(name)
            rotate(store, opened, slots=current_slots(store, opened), clock=lambda: NOON)
            return True

    with pytest.raises(errors.Refused, match="RP009"):
        rotate(Overwriting(store), opened, slots=current_slots(store, opened), clock=lambda: NOON)
    assert opens(store, PASSPHRASE) == 2


def test_a_rotation_gives_nothing_to_slots_that_were_not_shown() -> None:
    """A slot added or removed since the plan stops it; one added in the last moment is named, one removed too."""
    store = MemoryStore()
    opened = made(store)
    shown = current_slots(store, opened)
    other = add(store, opened, OTHER)
    with pytest.raises(errors.Refused, match="RP009: found the current slots"):
        rotate(store, opened, slots=shown, clock=lambda: NOON)

    class Racing(FaultyStore):
        def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
            late.append(add(store, opened, LOST))
            store.delete(slot_name(other))
            return super().put_if_absent(name, data, durable=durable)

    late: list[str] = []
    done = rotate(Racing(store), opened, slots=current_slots(store, opened), clock=lambda: NOON)

    assert (done.left_out, done.gone) == ((late[0],), (other,))
    with pytest.raises(errors.Misconfigured, match="RP008"):
        open_repository(store, LOST)


def test_a_key_added_while_another_rotates_is_withdrawn() -> None:
    """The one who adds learns of the rotation and leaves no half slot."""
    store = MemoryStore()
    opened = made(store)

    class Racing(FaultyStore):
        def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
            rotate(store, opened, slots=current_slots(store, opened), clock=lambda: NOON)
            return super().put_if_absent(name, data, durable=durable)

    with pytest.raises(errors.Refused, match="RP009"):
        add(Racing(store), opened, OTHER)
    assert [slot.name for slot in list_keys(store, open_keys(store, PASSPHRASE))] == ["first"]


_CHANGES: dict[str, Callable[[Store], object]] = {
    "add": lambda store: add(store, open_keys(store, PASSPHRASE), LOST),
    "recovery": lambda store: add_recovery_key(store, open_keys(store, PASSPHRASE), name="safe", clock=lambda: NOON),
    "remove": lambda store: remove_key(store, open_keys(store, PASSPHRASE), _slot_called(store, "extra")),
    "rotate": rotate_all,
}


def _slot_called(store: Store, name: str) -> str:
    return next(slot.id for slot in list_keys(store, open_keys(store, PASSPHRASE)) if slot.name == name)


def _prepared() -> MemoryStore:
    store = MemoryStore()
    opened = made(store)
    add(store, opened, OTHER)
    add(store, opened, Secret("extra"), "extra")
    rotate_all(store)
    return store


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.TORN])
@pytest.mark.parametrize("change", _CHANGES)
def test_killed_or_failed_at_any_call_every_key_that_should_open_opens(change: str, fault: Fault) -> None:
    """Add, remove and rotate are one write each: all or nothing, and run again they end well."""
    before = _prepared()
    counted = FaultyStore(copied(before))
    _CHANGES[change](counted)
    failed: list[BaseException] = []
    for call in range(1, len(counted.calls) + 1):
        store = copied(before)
        try:
            _CHANGES[change](FaultyStore(store, fault, at=call))
        except (Killed, errors.SafepointError) as error:
            failed.append(error)
        generations = {opens(store, passphrase) for passphrase in (PASSPHRASE, OTHER)}
        assert generations <= {2, 3}
        assert len(generations) == 1
        if change != "remove":
            _CHANGES[change](store)
            assert opens(store, OTHER) == opens(store, PASSPHRASE)
    assert failed or (change, fault) == ("remove", Fault.FULL)  # it puts nothing


def test_a_key_whose_maker_got_no_answer_is_not_left_behind() -> None:
    """A recovery key that was never printed must not count as one that opens."""
    store = MemoryStore()
    opened = made(store)
    counted = FaultyStore(copied(store))
    add_recovery_key(counted, opened, name="safe", clock=lambda: NOON)
    (put,) = (number for number, call in enumerate(counted.calls, start=1) if call.startswith("put"))

    with pytest.raises(errors.Unreachable):
        add_recovery_key(FaultyStore(store, Fault.LOST_ANSWER, at=put), opened, name="safe", clock=lambda: NOON)

    assert current_slots(store, opened) == {opened.slot}


@pytest.mark.parametrize("fault", [Fault.KILL, Fault.KILL_AFTER, Fault.POWER_CUT])
def test_a_killed_creation_can_be_done_again(fault: Fault) -> None:
    """What is left is a slot of no repository, which counts for nothing in the next."""
    counted = FaultyStore(MemoryStore())
    made(counted)
    for call in range(1, len(counted.calls) + 1):
        store = MemoryStore()
        with pytest.raises(Killed):
            made(FaultyStore(store, fault, at=call))
        try:
            opened = open_keys(store, PASSPHRASE)
        except errors.Misconfigured:
            opened = made(store)
        assert current_slots(store, opened) == {opened.slot}


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
