"""Creating and opening repositories.

Creation puts the first slot first and `safepoint.json` last: killed in between, it leaves a slot of a repository that
does not exist, which belongs to no later one. Opening writes nothing.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from safepoint import errors
from safepoint.model.measures import Clock, format_count, system_clock
from safepoint.model.secret import Secret
from safepoint.repository.names import (
    DESCRIPTION_NAME,
    KEYS_PREFIX,
    SEALED_PREFIXES,
    TEMPORARY_PREFIX,
    generation_name,
    position_of,
    slot_id_of,
    slot_name,
)
from safepoint.repository.parallel import in_threads
from safepoint.repository.places import NOWHERE, Places
from safepoint.repository.repository import Repository
from safepoint.repository.sealing import keys, objects
from safepoint.repository.sealing.checked_json import LARGEST
from safepoint.repository.sealing.generations import Generation, read_generation
from safepoint.repository.sealing.key_memory import require_known_keys
from safepoint.repository.sealing.keys import OpenedKeys
from safepoint.repository.sealing.seal import FIRST_GENERATION
from safepoint.repository.sealing.slots import (
    Opener,
    Slot,
    SlotKeys,
    SlotKind,
    new_slot,
    open_slot,
    read_slot,
)
from safepoint.stores.port import NotFound, Store

FIRST_SLOT = "first"
_STANDARD_COST = keys.KeyCost()
_SHOWN = 3


def create_repository(
    store: Store,
    passphrase: Secret | None,
    *,
    cost: keys.KeyCost = _STANDARD_COST,
    clock: Clock = system_clock,
    sibling_of: OpenedKeys | None = None,
    places: Places = NOWHERE,
) -> Repository:
    """A new repository, durably there; without a passphrase nothing in it is encrypted.

    A sibling has the family and all masters of the other, and an id and slots of its own: its objects are those of
    the other, byte for byte. RP002 when a repository is there already, or the remains of one; RP003 for a passphrase
    that cannot be one, or a sibling that is encrypted otherwise than the other. See KEY_LOST_STATEMENT.
    """
    _require_free(store)
    other = None if sibling_of is None else _whole(sibling_of, is_encrypted=passphrase is not None)
    description = keys.new_description(
        is_encrypted=passphrase is not None, sibling_of=None if other is None else other.description
    )
    masters: keys.Masters = ()
    slot_id = None
    if passphrase is not None:
        opener = Opener(require_passphrase(passphrase))
        masters = ((FIRST_GENERATION, keys.new_master()),) if other is None else other.masters
        slot_id, slot = new_slot(description, masters, opener, name=FIRST_SLOT, cost=cost, created=clock())
        store.put_if_absent(slot_name(slot_id), slot)
    if not store.put_if_absent(DESCRIPTION_NAME, keys.description_to_bytes(description)):
        if slot_id is not None:
            with contextlib.suppress(NotFound, errors.SafepointError):
                store.delete(slot_name(slot_id))
        raise _exists(DESCRIPTION_NAME)
    return Repository(store, description, keys.keyring_of(description, masters), clock, places)


def open_repository(
    store: Store,
    passphrase: Secret | None,
    *,
    clock: Clock = system_clock,
    is_for_reading: bool = False,
    places: Places = NOWHERE,
) -> Repository:
    """The repository in the store, opened by any of its keys; writes nothing to the store.

    RP001 when there is none, RP003 when the key is not its, RP008 when the key does not open the generation that
    seals, or when one that this machine saw before is hidden or another. With `is_for_reading` RP008 is let pass: what
    older generations sealed can then be read, and who opens it so must write nothing.
    """
    opened = open_keys(store, passphrase)
    if not is_for_reading:
        opened.require_whole()
        require_known_keys(opened, places.state_of(opened.description.id))
    return Repository(store, opened.description, opened.keyring, clock, places)


def open_keys(store: Store, passphrase: Secret | None) -> OpenedKeys:
    """The keys of the repository in the store, as far as this key of it opens them; RP001, RP003.

    Look at `shortfall` before anything is sealed with them.
    """
    description = _read_description(store)
    if description.hashing_key is not None:
        if passphrase is not None:
            raise _not_encrypted(description)
        return OpenedKeys(description=description, keyring=keys.keyring_of(description), slot=None)
    if passphrase is None:
        raise _needs_passphrase(description)
    return _open_any_slot(store, description, Opener(passphrase))


def require_passphrase(passphrase: Secret) -> Secret:
    """The passphrase or generated key; RP003 for one that is empty, mistyped, or has the shape of a recovery key."""
    if not passphrase.reveal():
        raise errors.RP003.error(
            "found an empty passphrase, expected one, or none for a repository in the clear",
            hints=[
                errors.ask("is the variable set, or the file filled, that the key's reference names?"),
                errors.run("for a repository that anybody may read: key `none`"),
            ],
        )
    if Opener(passphrase).kind is SlotKind.RECOVERY:
        raise errors.RP003.error(
            "found a recovery key given as a passphrase, expected a passphrase or a generated key",
            hints=[errors.run("make recovery keys so: `safepoint repository key add --recovery`")],
        )
    return passphrase


def _read_description(store: Store) -> keys.Description:
    try:
        return keys.description_from_bytes(store.get_range(DESCRIPTION_NAME, 0, LARGEST + 1))
    except NotFound:
        raise errors.RP001.error(
            f"found no {DESCRIPTION_NAME} in {store}, expected a repository",
            hints=[
                errors.ask("is the URL right, and is the disk mounted?"),
                errors.run("only where there never was one: `safepoint repository init`"),
            ],
        ) from None


def _open_any_slot(store: Store, description: keys.Description, opener: Opener) -> OpenedKeys:
    """Prefers a slot that opens all there is: the same passphrase may have two."""
    look = _look(store, description)
    short: OpenedKeys | None = None
    for slot in look.slots:
        if (found := open_slot(description, slot, opener)) is not None:
            opened = look.follow(slot, *found)
            if opened.shortfall is None:
                return opened
            short = short or opened
    if short is not None:
        return short
    if look.damage is not None:
        raise look.damage
    named = ", ".join(f"{slot.name!r}, {slot.kind.value}" for slot in look.slots[:_SHOWN])
    raise errors.RP003.error(
        f"found {format_count(len(look.slots), 'key')} ({named or 'none'}) in repository {description.id}, "
        f"none opened by the {opener.words} given, expected one",
        hints=[
            errors.ask("was that key removed since, is it another repository's, or does it end in a line break?"),
            errors.run(
                "name one of those that are there, by --key with a URL, otherwise by `key` in the strategy file; "
                "a lost key cannot be recovered"
            ),
        ],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """One look at what lies below `keys/`: names, slots of sound form, and the first error of those that are not.

    What a slot says of its position shows that generations are missing, even where none of theirs is left.
    """

    store: Store
    description: keys.Description
    names: tuple[str, ...]
    slots: tuple[Slot, ...]
    damage: errors.SafepointError | None

    def follow(self, slot: Slot, slot_keys: SlotKeys, masters: keys.Masters) -> OpenedKeys:
        """From the slot's masters along the generations that came later."""
        shortfall = None
        last = max(*(position_of(name) or 0 for name in self.names), *(slot.position for slot in self.slots))
        for position in range(slot.position + 1, last + 1):
            try:
                generation = self._generation(position)
                if slot.id not in generation.wraps:
                    shortfall = keys.lacks(f"{generation.name}, made without this key", dict(masters))
                    break
                masters = generation.open(self.description, slot.id, slot_keys, masters)
            except errors.SafepointError as error:
                if error.spec.family not in {errors.Family.DAMAGED, errors.Family.REFUSED}:
                    raise
                shortfall = error
                break
        keyring = keys.keyring_of(self.description, masters)
        return OpenedKeys(description=self.description, keyring=keyring, slot=slot.id, shortfall=shortfall)

    def _generation(self, position: int) -> Generation:
        name = generation_name(position)
        try:
            return read_generation(self.store, name)
        except NotFound:
            raise objects.missing(name) from None


def _look(store: Store, description: keys.Description) -> _Look:
    names = tuple(store.list(KEYS_PREFIX))
    found = in_threads(lambda name: _slot_or_damage(store, name), filter(slot_id_of, names))
    damage = next((each for each in found if isinstance(each, errors.SafepointError)), None)
    slots = tuple(each for each in found if isinstance(each, Slot))
    return _Look(store=store, description=description, names=names, slots=slots, damage=damage)


def _slot_or_damage(store: Store, name: str) -> Slot | errors.SafepointError | None:
    """None for one that was removed just now."""
    try:
        return read_slot(store, name)
    except NotFound:
        return None
    except (errors.Damaged, errors.Refused) as error:
        return error


def _whole(other: OpenedKeys, *, is_encrypted: bool) -> OpenedKeys:
    """Keys that a sibling may be made from."""
    other.require_whole()
    if other.keyring.is_encrypted != is_encrypted:
        raise errors.RP003.error(
            f"found repository {other.description.id} {_state(other.keyring.is_encrypted)}, expected it "
            f"{_state(is_encrypted)}, as its sibling is to be",
            hints=[errors.run("give both a key, or neither; or make one that is no sibling")],
        )
    return other


def _state(is_encrypted: bool) -> str:
    return "encrypted" if is_encrypted else "unencrypted"


def _require_free(store: Store) -> None:
    if any(True for _ in store.list(DESCRIPTION_NAME)):
        raise _exists(DESCRIPTION_NAME)
    for prefix in (*SEALED_PREFIXES, TEMPORARY_PREFIX):
        for name in store.list(prefix):
            raise _exists(name)


def _exists(name: str) -> errors.SafepointError:
    return errors.RP002.error(
        f"found {name} in the store, expected no repository there",
        hints=[
            errors.ask("is it the repository you want to use? Then it needs no creation"),
            errors.run("choose another folder; if safepoint.json alone was lost, put it back from a copy"),
        ],
    )


def _not_encrypted(description: keys.Description) -> errors.SafepointError:
    return errors.RP003.error(
        f"found repository {description.id} unencrypted, expected it to need the key that was given",
        hints=[
            errors.ask("is it the repository you mean, or was it put in the place of an encrypted one?"),
            errors.run("if anybody may read it: --key none with a URL, otherwise `key` taken out of its entry"),
        ],
    )


def _needs_passphrase(description: keys.Description) -> errors.SafepointError:
    return errors.RP003.error(
        f"found repository {description.id} encrypted, expected a key and got none",
        hints=[errors.run('name it: --key with a URL, otherwise `key = "env:SAFEPOINT_KEY"` in its entry')],
    )
