"""What may be done with a repository's keys by whoever has opened it: list, add, remove, rotate, share with a sibling.

Each change is one put or one delete, so that a process killed at any moment has made it or has not. Each looks again
afterwards: a change that another one overtook is withdrawn or told (RP009), never half there.

What removing and rotating protect, and what they cannot, stands in docs/FORMAT.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from safepoint import errors
from safepoint.model.measures import Clock
from safepoint.model.secret import Secret
from safepoint.repository.names import slot_name
from safepoint.repository.sealing import keys
from safepoint.repository.sealing.checked_json import LARGEST
from safepoint.repository.sealing.generations import new_generation
from safepoint.repository.sealing.key_listing import KeySlot, last_position, list_keys, members_of, require_encrypted
from safepoint.repository.sealing.keys import KeyCost, OpenedKeys
from safepoint.repository.sealing.printed_key import KeyForm, key_to_text, new_key
from safepoint.repository.sealing.slots import Opener, SlotKind, new_slot
from safepoint.stores.port import NotFound, Store

LONGEST_NAME = 100
_STANDARD_COST = KeyCost()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Rotation:
    """A rotation that happened: the keys that seal from now on.

    `left_out` are slots that appeared while it went on, and lack the new generation; `gone` are slots that were removed
    meanwhile, and got it: rotate again.
    """

    opened: OpenedKeys
    slots: tuple[str, ...]
    left_out: tuple[str, ...]
    gone: tuple[str, ...]


def add_key(
    store: Store, opened: OpenedKeys, passphrase: Secret, *, name: str, clock: Clock, cost: KeyCost = _STANDARD_COST
) -> str:
    """The passphrase or generated key opens the repository, all of it; its slot's id. RP003, RP008, RP009."""
    if not passphrase.reveal():
        raise errors.RP003.error(
            "found an empty passphrase, expected one",
            hints=[errors.ask("is the variable set, or the file filled, that `--passphrase-from` names?")],
        )
    opener = Opener(passphrase)
    if opener.kind is SlotKind.RECOVERY:
        raise errors.RP003.error(
            "found a recovery key given as a passphrase, expected a passphrase or a generated key",
            hints=[errors.run("let one be made: `safepoint repository key add --recovery`")],
        )
    return _add(store, opened, opener, name, cost, clock())


def add_recovery_key(store: Store, opened: OpenedKeys, *, name: str, clock: Clock) -> tuple[str, Secret]:
    """A new recovery key opens the repository, all of it: its slot's id, and the text to print, kept nowhere."""
    text = key_to_text(new_key(), KeyForm.RECOVERY)
    return _add(store, opened, Opener(text), name, _STANDARD_COST, clock()), text


def generate_key() -> Secret:
    """The text of a new key for daily use, which opens nothing yet."""
    return key_to_text(new_key(), KeyForm.GENERATED)


def remove_key(store: Store, opened: OpenedKeys, slot_id: str) -> None:
    """No slot of this id is there. RP009 for the last one that opens everything, and for an unknown one.

    Its passphrase still opens what was sealed so far, for who kept a copy of the slot, until the next rotation also
    what is sealed next.
    """
    _require_whole(opened)
    listed = list_keys(store, opened)
    if slot_id not in {slot.id for slot in listed}:
        raise _no_such_slot(slot_id, listed)
    others = [slot for slot in listed if slot.is_current and slot.id != slot_id]
    if not others:
        raise _last_one(slot_id)
    data = store.get_range(slot_name(slot_id), 0, LARGEST + 1)
    _delete(store, slot_id)
    if not any(slot.is_current for slot in list_keys(store, opened)):  # two removed the last two, each the other's
        store.put_if_absent(slot_name(slot_id), data)
        raise _last_one(slot_id)
    if last_position(store) > len(opened.masters):
        raise _rotated_meanwhile(f"slot {slot_id} was removed, and may open the new generation: rotate again")


def rotate(store: Store, opened: OpenedKeys, *, slots: Collection[str], clock: Clock) -> Rotation:
    """A new generation seals from now on, and exactly these slots open it: all that are current, as was shown.

    One put: killed before it, nothing happened; after it, all did. RP009 when the slots are not those, or when another
    rotation came first; then nothing was changed.
    """
    _require_whole(opened)
    members = members_of(store, opened)
    if set(members) != set(slots):
        raise errors.RP009.error(
            f"found the current slots {_ids(members)}, expected those that the plan showed: {_ids(slots)}",
            hints=[errors.ask("was a key added or removed just now?"), errors.run("look again, then rotate")],
        )
    if opened.slot not in members:
        raise errors.RP009.error(
            f"found slot {opened.slot}, which opened the repository, not among the current ones {_ids(members)}, "
            "expected it there",
            hints=[errors.run("look what is wrong with it: `safepoint repository key list`")],
        )
    number = keys.next_generation(opened.description, opened.masters)
    changed = _extended(store, opened, (number, keys.new_master()), members, clock())
    after = set(members_of(store, changed, since=len(opened.masters)))
    return Rotation(
        opened=changed,
        slots=tuple(sorted(members)),
        left_out=tuple(sorted(after - set(members))),
        gone=tuple(sorted(set(members) - after)),
    )


def sync_generations(source: OpenedKeys, store: Store, target: OpenedKeys, *, clock: Clock) -> OpenedKeys:
    """Every generation of the source is one of its sibling's, in `store`; the sibling's keys as they are then.

    Needed before objects are copied as they are. Each generation is one put, for all current slots of the sibling;
    killed in between, the next call goes on. RP009 for strangers, and for siblings that gave one number to two
    masters: then neither has changed, and they must be copied as strangers.
    """
    _require_family(source, target)
    if not target.keyring.is_encrypted:
        return target
    _require_whole(source)
    _require_whole(target)
    for master in source.masters:
        if master[0] not in target.keyring.masters:
            target = _extended(store, target, master, members_of(store, target), clock())
    return target


def _add(store: Store, opened: OpenedKeys, opener: Opener, name: str, cost: KeyCost, now: datetime) -> str:
    _require_whole(opened)
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise errors.RP009.error(
            f"found a key name of {len(name)} characters, expected 1 to {LONGEST_NAME} printable ones",
            hints=[errors.run("choose another one: `safepoint repository key add --name TEXT`")],
        )
    _require_not_rotated(store, opened, errors.NOTHING_CHANGED)
    slot_id, data = new_slot(opened.description, opened.masters, opener, name=name, cost=cost, created=now)
    try:
        if not store.put_if_absent(slot_name(slot_id), data):
            raise errors.RP007.error(
                f"found {slot_name(slot_id)} in the store, expected a random name to be free",
                hints=[errors.ask("can the source of randomness be trusted here?"), errors.run("run it again")],
            )
        _require_not_rotated(store, opened, errors.NOTHING_CHANGED)
    except errors.SafepointError:  # also without an answer: whoever was told of no slot must not find one
        with suppress(errors.SafepointError):
            _delete(store, slot_id)
        raise
    return slot_id


def _extended(
    store: Store, opened: OpenedKeys, master: tuple[int, bytes], members: Mapping[str, bytes], now: datetime
) -> OpenedKeys:
    """The keys with one more master, which is in the store for these slots. RP009 when another took its place."""
    masters = (*opened.masters, master)
    name, data = new_generation(opened.description, masters, members, created=now)
    # Read back: without conditional put two may be told that they won.
    if not store.put_if_absent(name, data) or store.get_range(name, 0, len(data) + 1) != data:
        raise _rotated_meanwhile(errors.NOTHING_CHANGED)
    keyring = keys.keyring_of(opened.description, masters)
    return OpenedKeys(description=opened.description, keyring=keyring, slot=opened.slot)


def _delete(store: Store, slot_id: str) -> None:
    with suppress(NotFound):
        store.delete(slot_name(slot_id))


def _require_not_rotated(store: Store, opened: OpenedKeys, changed: str) -> None:
    if last_position(store) > len(opened.masters):
        raise _rotated_meanwhile(changed)


def _require_whole(opened: OpenedKeys) -> None:
    require_encrypted(opened)
    opened.require_whole()


def _require_family(source: OpenedKeys, target: OpenedKeys) -> None:
    if source.description.family != target.description.family:
        raise errors.RP009.error(
            f"found families {source.description.family} and {target.description.family}, expected siblings",
            hints=[
                errors.ask("are they strangers? Only siblings share generations; a copy to a stranger seals anew"),
                errors.run("make a sibling: `safepoint repository init --sibling-of NAME|URL`"),
            ],
        )
    for number, master in source.masters:
        if target.keyring.masters.get(number, master) != master:
            raise errors.RP009.error(
                f"found two masters of generation {keys.generation_label(number)}, one in repository "
                f"{source.description.id} and one in {target.description.id}, expected one in the family",
                hints=[
                    errors.ask("were both siblings rotated before either was copied to the other?"),
                    errors.run("copy between them as between strangers, or make one of them anew as a sibling"),
                ],
            )


def _no_such_slot(slot_id: str, listed: Collection[KeySlot]) -> errors.SafepointError:
    return errors.RP009.error(
        f"found no slot {slot_id}, expected one of {_ids(slot.id for slot in listed)}",
        hints=[errors.run("list them: `safepoint repository key list`")],
    )


def _last_one(slot_id: str) -> errors.SafepointError:
    return errors.RP009.error(
        f"found slot {slot_id} to be the last that opens everything, expected another one to be left",
        hints=[
            errors.ask("shall the passphrase be replaced? Then add the new one first"),
            errors.run("add one: `safepoint repository key add`"),
        ],
    )


def _rotated_meanwhile(changed: str) -> errors.SafepointError:
    return errors.RP009.error(
        "found a generation of keys that was made meanwhile, expected none after those that were opened",
        changed=changed,
        hints=[errors.ask("did somebody rotate just now?"), errors.run("run it again: it then starts from there")],
    )


def _ids(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids)) or "none"
