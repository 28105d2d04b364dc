"""`safepoint repository key`: who can open a repository, shown and changed.

Each plan shows every slot that is there, so that a person sees one that nobody of the team made before a rotation
gives it the new generation. A recovery key never enters a plan, a journal or an error: the job holds it, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from safepoint import errors
from safepoint.errors import SafepointError
from safepoint.model.json_value import Json, JsonObject
from safepoint.model.measures import Clock, format_count, format_instant, system_clock
from safepoint.model.secret import Secret
from safepoint.repository.commit.journal import Journal
from safepoint.repository.commit.journal_event import key_added, key_removed, key_rotated
from safepoint.repository.names import slot_name
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing.key_changes import add_key, add_recovery_key, remove_key, rotate
from safepoint.repository.sealing.key_listing import KeySlot, list_keys
from safepoint.repository.sealing.key_memory import require_known_keys
from safepoint.repository.sealing.keys import KEY_LOST_STATEMENT, OpenedKeys, generation_label, next_generation
from safepoint.steps.execute import Action, Context, Observer, Run, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Plan, Step
from safepoint.stores import Store, open_store
from safepoint.workflows.passphrases import require_strong, weakness_warnings
from safepoint.workflows.repository_location import Located

_PREFIX = "repository.key."
_LEAST_PREFIX = 4
_FAULTY = "{} does not hold: no rotation gives it anything; remove it when nobody needs it"
_STALE = "{} does not open the newest generation: what is sealed now stays closed to it; remove it, add it anew"
_OWN = "it is the one in use: {} opens nothing afterwards; this and every later command must name another key"
_REMOVED = (
    "who knows the removed key and kept a copy of the store opens all that was sealed so far, and what is sealed next "
    "until `safepoint repository key rotate`"
)
_ROTATED = (
    "what was sealed before stays readable for whoever could read it; "
    "if a lost key's holder may also have written to the store, replace every other passphrase too, after the rotation"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """A repository, opened for its keys, and the slots it has."""

    place: Located
    store: Store
    opened: OpenedKeys
    slots: tuple[KeySlot, ...]

    def journal(self, opened: OpenedKeys, clock: Clock) -> Journal:
        """This machine's, sealed with these keys."""
        repository = opened.description.id
        state = self.place.places.journal_of(repository, str(self.store))
        return Journal(self.store, opened.keyring, repository=repository, clock=clock, state=state)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """A planned change of keys."""

    plan: Plan
    ring: KeyRing
    passphrase: Secret | None = None
    clock: Clock = system_clock
    _recovery: list[Secret] = field(default_factory=list[Secret], repr=False)

    def execute(self, observer: Observer) -> Run:
        """The change is durable."""
        actions: dict[str, Action] = {
            f"{_PREFIX}add": self._add,
            f"{_PREFIX}remove": self._remove,
            f"{_PREFIX}rotate": self._rotate,
        }
        return execute(self.plan, actions=actions, journal=MemoryJournal(), observer=observer, clock=self.clock)

    def recovery_key(self) -> Secret | None:
        """The text to print, handed out once."""
        return self._recovery.pop() if self._recovery else None

    def _add(self, step: Step, _context: Context) -> JsonObject:
        name = str(step.arguments["name"])
        if self.passphrase is not None:
            slot = add_key(self.ring.store, self.ring.opened, self.passphrase, name=name, clock=self.clock)
        else:
            slot, text = add_recovery_key(self.ring.store, self.ring.opened, name=name, clock=self.clock)
            self._recovery.append(text)
        self.ring.journal(self.ring.opened, self.clock).note([key_added(slot_name(slot))])
        return {"slot": slot, "name": name}

    def _remove(self, step: Step, _context: Context) -> JsonObject:
        slot = str(step.arguments["slot"])
        self.ring.journal(self.ring.opened, self.clock).append([key_removed(slot_name(slot))])
        remove_key(self.ring.store, self.ring.opened, slot)
        return {"removed": slot}

    def _rotate(self, step: Step, _context: Context) -> JsonObject:
        slots: Json = step.arguments["slots"]
        approved = [str(slot) for slot in slots] if isinstance(slots, list) else []
        done = rotate(self.ring.store, self.ring.opened, slots=approved, clock=self.clock)
        self.ring.journal(done.opened, self.clock).note([key_rotated(done.opened.keyring.generation)])
        return {
            "generation": generation_label(done.opened.keyring.generation),
            "slots": list(done.slots),
            "left_out": list(done.left_out),
            "gone": list(done.gone),
        }


def open_key_ring(place: Located) -> KeyRing:
    """The repository and its slots; RP003 for one without encryption, RP008."""
    opened = place.open_keys()
    with place.named():
        require_known_keys(opened, place.places.state_of(opened.description.id))
        store = open_store(place.url)
        slots = list_keys(store, opened)
    return KeyRing(place=place, store=store, opened=opened, slots=slots)


def prepare_add(
    place: Located, *, name: str | None, passphrase_from: str | None, allows_weak: bool = False
) -> KeyChange:
    """The plan to add the passphrase that the reference leads to, or a new recovery key without one; CF003.

    RP014 for a passphrase that is easy to guess, unless that is allowed; RP009 for one that opens a slot already.
    """
    ring = open_key_ring(place)
    passphrase = None if passphrase_from is None else place.resolve(passphrase_from)
    if passphrase is not None and not allows_weak:
        require_strong(passphrase, str(passphrase_from))
    if passphrase is not None:
        _require_new(ring, passphrase, str(passphrase_from))
    what = "a recovery key" if passphrase_from is None else f"the passphrase of {passphrase_from}"
    label = name or ("recovery key" if passphrase_from is None else "passphrase")
    step = _step("add", f"add {what} as {label!r}", {"name": label, "passphrase_from": passphrase_from})
    shown = ["the recovery key is shown once, on stdout, and kept nowhere: print it"] if passphrase is None else []
    weak = [] if passphrase is None else weakness_warnings(passphrase, str(passphrase_from))
    return KeyChange(plan=_plan(ring, step, [*shown, *weak, KEY_LOST_STATEMENT]), ring=ring, passphrase=passphrase)


def prepare_remove(place: Located, slot: str, *, force: bool = False) -> KeyChange:
    """The plan to remove the slot whose id begins so; RP009 unless it is exactly one.

    RP009, too, unless with `force`, for the one in use: whatever names that key finds the repository closed.
    """
    ring = open_key_ring(place)
    found = _chosen(ring.slots, slot)
    if found.is_own and not force and any(slot.is_current and slot is not found for slot in ring.slots):
        raise _in_use(place, found)
    step = _step("remove", f"remove slot {found.id}, {found.name!r}", {"slot": found.id})
    own = [_OWN.format(place.key)] if found.is_own else []
    return KeyChange(plan=_plan(ring, step, [*own, _REMOVED]), ring=ring)


def prepare_rotate(place: Located) -> KeyChange:
    """The plan to seal with a new generation, which every current slot shown opens."""
    ring = open_key_ring(place)
    current: list[Json] = [slot.id for slot in ring.slots if slot.is_current]
    label = generation_label(next_generation(ring.opened.description, ring.opened.masters))
    step = _step(
        "rotate", f"seal with generation {label}, opened by {format_count(len(current), 'slot')}", {"slots": current}
    )
    return KeyChange(plan=_plan(ring, step, [_ROTATED]), ring=ring)


def slot_to_json(slot: KeySlot) -> dict[str, Json]:
    """A slot as `--json` shows it."""
    return {
        "slot": slot.id,
        "kind": None if slot.kind is None else slot.kind.value,
        "name": slot.name,
        "created": None if slot.created is None else slot.created.isoformat(),
        "generations": [generation_label(generation) for generation in slot.generations],
        "is_current": slot.is_current,
        "is_own": slot.is_own,
        "fault": slot.fault,
    }


def describe_slot(slot: KeySlot) -> str:
    """One line for people."""
    made = "?" if slot.created is None else format_instant(slot.created)
    kind = "?" if slot.kind is None else slot.kind.value
    own = ", the one in use" if slot.is_own else ""
    return f"{slot.name} ({kind}), made {made}, {standing_of(slot)}{own}"


def standing_of(slot: KeySlot) -> str:
    """What the slot opens."""
    if slot.fault is not None:
        return f"opens nothing: {slot.fault}"
    return "opens all" if slot.is_current else f"opens up to generation {generation_label(slot.generations[-1])}"


def _step(verb: str, title: str, arguments: JsonObject) -> Step:
    return Step(name=verb, action=f"{_PREFIX}{verb}", title=title, arguments=arguments)


def _plan(ring: KeyRing, step: Step, warnings: Sequence[str]) -> Plan:
    """Shows every slot; those that do not open all are warned of."""
    slots = tuple((f"slot {slot.id}", describe_slot(slot)) for slot in ring.slots)
    told = [(_FAULTY if slot.fault else _STALE).format(f"slot {slot.id}") for slot in ring.slots if not slot.is_current]
    generation = generation_label(ring.opened.keyring.generation)
    return Plan(
        verb=f"repository key {step.name}",
        subject=ring.place.name,
        title=f"change the keys of repository {ring.place.name}",
        steps=(step,),
        facts=(("url", ring.place.url), ("generation", generation), *slots),
        warnings=(*told, *warnings),
    )


def _require_new(ring: KeyRing, passphrase: Secret, reference: str) -> None:
    """A second slot for one passphrase would outlive the removal of the first."""
    try:
        opened = open_keys(ring.store, passphrase)
    except SafepointError as error:
        if error.spec is errors.RP003:
            return
        raise
    raise errors.RP009.error(
        f"found that {reference} opens slot {opened.slot} already, expected a passphrase that opens none",
        hints=[
            errors.ask("is it the passphrase in use? then name another one"),
            errors.run("see which slots there are: `safepoint repository key list`"),
        ],
    )


def _in_use(place: Located, slot: KeySlot) -> errors.SafepointError:
    return errors.RP009.error(
        f"found slot {slot.id}, {slot.name!r}, to be the one that {place.key} opens just now, "
        "expected one that is not in use",
        hints=[
            errors.ask(
                "shall the passphrase be replaced? Then add the new one, name it as the repository's key, and "
                "remove this one with that"
            ),
            errors.run("add one: `safepoint repository key add --passphrase-from REF`"),
            errors.run(f"when it must go now: `safepoint repository key remove {slot.id} --force`"),
        ],
    )


def _chosen(slots: Sequence[KeySlot], beginning: str) -> KeySlot:
    """The only slot whose id begins so; at least four digits."""
    if len(beginning) < _LEAST_PREFIX:
        raise errors.RP009.error(
            f"found {beginning!r} for a slot, expected its id or how that begins, by at least {_LEAST_PREFIX} digits",
            hints=[errors.run("list them: `safepoint repository key list`")],
        )
    found = [slot for slot in slots if slot.id.startswith(beginning.lower())]
    if len(found) != 1:
        raise errors.RP009.error(
            f"found {format_count(len(found), 'slot')} beginning with {beginning!r} among {len(slots)}, expected one",
            hints=[errors.run("list them: `safepoint repository key list`")],
        )
    return found[0]
