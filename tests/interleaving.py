"""A world in which the real writers, collectors and expirers run, one store call at a time, in any order.

Each actor is a thread that stops before every call to the store; a scheduler says who goes on. Actors die before or
after a call, or are never resumed; answers are lost, requests take effect long after they were given up, listings show
what happens meanwhile or do not, clocks differ by hours, and power cuts undo what no barrier made durable. After each
change of the store the world checks, from the raw objects alone, that every backup that exists has all its packs.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from safepoint import errors
from safepoint.repository.commit import lease_objects
from safepoint.repository.names import pack_name
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores.faults import Killed
from safepoint.stores.port import Capabilities, Data, NotFound

KEYRING = Keyring(family=bytes(16), masters={1: bytes(range(32))}, is_encrypted=False)
_START = datetime(2026, 3, 1, tzinfo=UTC)
Body = Callable[["Actor"], None]


class Broken(AssertionError):
    """The invariant that does not hold."""


@dataclass(kw_only=True)
class Habits:
    """How often what happens, per call or per schedule."""

    kill: float = 0.01
    lost_answer: float = 0.01
    late_effect: float = 0.01
    stop: float = 0.004
    late_listing: float = 0.5
    power_cut: float = 0.15
    longest_step: float = 3.0
    skew: float = 30.0


@dataclass(eq=False)
class Actor:
    """Someone with a store, a clock and a way to be stopped."""

    world: World
    name: str
    body: Body
    skew: timedelta
    priority: float
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    pending: str = ""
    is_over: bool = False
    is_stopped: bool = False
    is_dead: bool = False

    @property
    def rng(self) -> random.Random:
        return self.world.rng

    @property
    def store(self) -> GatedStore:
        return GatedStore(self.world, self)

    def clock(self) -> datetime:
        return self.world.now + self.skew


class World:
    """The objects, who acts on them, and what must hold."""

    def __init__(self, seed: int, habits: Habits | None = None) -> None:
        self.rng = random.Random(seed)
        self.habits = habits or Habits()
        self.objects: dict[str, bytes] = {}
        self.now = _START
        self.packs_of: dict[str, frozenset[bytes]] = {}
        self.indexed: set[bytes] = set()  # ever: a writer's cache of the indexes may be as old as can be
        self.ends: dict[str, tuple[str, str | None]] = {}
        self.expired: set[str] = set()
        self.acknowledged: dict[str, str] = {}
        self.ever_existed: set[str] = set()
        self.volatile: dict[str, Actor] = {}
        self.undoable: dict[str, tuple[bytes, set[Actor]]] = {}
        self.late: list[tuple[Actor, Callable[[], object]]] = []
        self.mutations: list[str] = []
        self.trace: list[str] = []
        self.calls = 0
        self.failure: BaseException | None = None
        self._actors: list[Actor] = []
        self._done = threading.Semaphore(0)
        self._is_over = False
        self._is_quiet = True
        self._change_points: set[int] = set()
        self._cut_at = -1
        self._by_priority = False
        self._script: list[tuple[str, str]] = []

    def run(
        self, bodies: Sequence[tuple[str, Body]], *, is_quiet: bool = False, script: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Runs the actors until each has ended, died or was stopped for ever; raises the first failure.

        A script says who goes on, and before which of its calls (by their beginning; "" for its end) the next one does.
        """
        self._is_quiet, self._is_over, self._script = is_quiet, False, list(script)
        rng, habits = self.rng, self.habits
        self._actors = [
            Actor(self, name, body, timedelta(hours=rng.uniform(-1, 1) * habits.skew), rng.random())
            for name, body in bodies
        ]
        self._by_priority = rng.random() < 0.7
        reach = 60 * len(bodies)
        self._change_points = {self.calls + rng.randrange(1, reach) for _ in range(rng.randrange(0, 9))}
        self._cut_at = self.calls + rng.randrange(5, 150) if rng.random() < habits.power_cut else -1
        threads = [threading.Thread(target=self._live, args=(actor,), daemon=True) for actor in self._actors]
        for thread in threads:
            thread.start()
        self._resume_next(None)
        self._done.acquire()
        self._is_over = True
        for actor in self._actors:
            actor.turn.release()
        for thread in threads:
            thread.join()
        for _, effect in self.late:
            effect()
        self.late.clear()
        self.check()
        if self.failure is not None:
            raise self.failure

    def gate(self, actor: Actor, call: str) -> None:
        """Somebody goes on; returns when it is this actor's turn again."""
        if self._is_over or actor.is_dead:
            raise Killed(call)
        actor.pending = call
        if not self._is_quiet:
            if not self._script:
                self._disturb(actor)
            self._resume_next(actor)
            if self._is_over or actor.is_dead:
                raise Killed(call)
        self.calls += 1
        self.now += timedelta(hours=self.rng.random() * self.habits.longest_step)
        self.trace.append(f"{actor.name}: {call}")

    def existing(self) -> set[str]:
        """The names of the backups that exist, by definition."""
        return {
            manifest
            for lease, (outcome, manifest) in self.ends.items()
            if manifest in self.objects and outcome == "committed" and lease not in self.expired
            if manifest and not self.is_spent(manifest)
        }

    def is_spent(self, manifest: str) -> bool:
        """Whether the lease that the name ends with is expired, by definition."""
        return manifest.rpartition("/")[2] in self.expired

    def check(self) -> None:
        """Every backup that exists has its packs; every backup that was acknowledged exists until it is expired."""
        existing = self.existing()
        self.ever_existed |= existing
        for name in existing:
            lost = [pack for pack in self.packs_of[name] if pack_name(pack) not in self.objects]
            if lost:
                raise Broken(f"backup {name} exists and lacks {[pack.hex()[:8] for pack in lost]}")
        for name, lease in self.acknowledged.items():
            if lease not in self.expired and name not in existing:
                raise Broken(f"backup {name} was acknowledged and does not exist")

    def changed(self, name: str) -> None:
        """To be called after every change of an object."""
        parts = name.split("/")
        if parts[0] == "leases" and name in self.objects and parts[2] in {"end", "expired"}:
            if parts[2] == "expired":
                self.expired.add(parts[1])
            else:
                end = lease_objects.read_end(_Raw(self.objects), KEYRING, parts[1])  # type: ignore[arg-type]
                self.ends[parts[1]] = (end.outcome.value, end.manifest)
        elif parts[0] == "leases" and parts[2] == "end":
            self.ends.pop(parts[1], None)
        self.check()

    def put(self, actor: Actor, name: str, data: bytes, *, durable: bool) -> bool:
        if name in self.objects:
            if durable:
                self.volatile.pop(name, None)
            return False
        self.objects[name] = data
        self.undoable.pop(name, None)
        if not durable:
            self.volatile[name] = actor
        self.mutations.append(name)
        self.changed(name)
        return True

    def delete(self, actor: Actor, name: str) -> None:
        if name not in self.objects:
            if name in self.undoable:
                self.undoable[name][1].add(actor)
            raise NotFound(name)
        data = self.objects.pop(name)
        if self.volatile.pop(name, None) is None:
            self.undoable[name] = data, {actor}
        self.mutations.append(name)
        self.changed(name)

    def barrier(self, actor: Actor) -> None:
        self.volatile = {name: owner for name, owner in self.volatile.items() if owner is not actor}
        self.undoable = {name: kept for name, kept in self.undoable.items() if actor not in kept[1]}

    def _live(self, actor: Actor) -> None:
        actor.turn.acquire()
        try:
            if not self._is_over:
                actor.body(actor)
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is fails the test, in the main thread
            self.failure = self.failure or error
        actor.is_over = True
        if not self._is_over:
            self._resume_next(None)

    def _resume_next(self, current: Actor | None) -> None:
        """Passes the turn on, perhaps to the one who has it; the world ends when nobody can go on."""
        ready = [actor for actor in self._actors if not (actor.is_over or actor.is_stopped or actor.is_dead)]
        if self.failure is not None or not ready:
            self._done.release()
            if current is not None:
                current.turn.acquire()
            return
        chosen = None
        try:
            chosen = self._scripted(ready)
        except Broken as error:
            self.failure = error
        if self.failure is not None or all(actor.is_dead for actor in ready):
            self._resume_next(current)
            return
        if chosen is None:
            chosen = max(ready, key=lambda actor: actor.priority) if self._by_priority else self._any(ready, current)
        if chosen is current:
            return
        chosen.turn.release()
        if current is not None:
            current.turn.acquire()

    def _scripted(self, ready: list[Actor]) -> Actor | None:
        while self._script:
            name, until = self._script[0]
            if name in {"power cut", "restart"}:
                self._script.pop(0)
                self._cut_power(does_kill=name == "power cut")
                ready = [actor for actor in ready if not actor.is_dead]
                continue
            actor = next((actor for actor in ready if actor.name == name), None)
            if actor is not None and not (until and actor.pending.startswith(until)):
                return actor
            self._script.pop(0)
            if actor is not None:
                actor.pending = ""
        return None

    def _any(self, ready: list[Actor], current: Actor | None) -> Actor:
        return current if current in ready and self.rng.random() < 0.5 else self.rng.choice(ready)

    def _disturb(self, actor: Actor) -> None:
        rng = self.rng
        if self.calls in self._change_points:
            actor.priority = rng.random() * 0.5
        if rng.random() < self.habits.stop:
            actor.is_stopped = True
        if self.late and rng.random() < 0.05:
            self.late.pop(rng.randrange(len(self.late)))[1]()
        if self.calls == self._cut_at:
            self._cut_power(does_kill=rng.random() < 0.6)

    def _cut_power(self, *, does_kill: bool) -> None:
        """The host of the store loses power. Actors there die; those elsewhere send again what was not durable."""
        self.trace.append("power cut" if does_kill else "restart of the store")
        for name, (data, _) in list(self.undoable.items()):
            if self.rng.random() < 0.7:
                self.objects[name] = data
                self.mutations.append(name)
        self.undoable.clear()
        if does_kill:
            for name in list(self.volatile):
                self.objects.pop(name, None)
            for actor in self._actors:
                actor.is_dead = True
            self.late.clear()
            self.volatile.clear()
        self.check()


class GatedStore:
    """The world's objects as one actor sees them."""

    def __init__(self, world: World, actor: Actor) -> None:
        self._world = world
        self._actor = actor

    def __str__(self) -> str:
        return "world:"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        return self._effect(f"put {name}", lambda: self._world.put(self._actor, name, bytes(data), durable=durable))

    def delete(self, name: str) -> None:
        self._effect(f"delete {name}", lambda: self._world.delete(self._actor, name))

    def get(self, name: str) -> bytes:
        self._world.gate(self._actor, f"get {name}")
        try:
            return self._world.objects[name]
        except KeyError:
            raise NotFound(name) from None

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        return self.get(name)[offset : offset + length]

    def size(self, name: str) -> int:
        return len(self.get(name))

    def list(self, prefix: str) -> Iterator[str]:
        """What is there at the start; of what is put or deleted before the end, anything may be listed or not."""
        world = self._world
        world.gate(self._actor, f"list {prefix}")
        names = {name for name in world.objects if name.startswith(prefix)}
        before = len(world.mutations)
        if world.rng.random() < world.habits.late_listing:
            world.gate(self._actor, f"end of list {prefix}")
        touched = {name for name in world.mutations[before:] if name.startswith(prefix)}
        for name in sorted(touched):
            (names.add if world.rng.random() < 0.5 else names.discard)(name)
        return iter(sorted(names))

    def barrier(self) -> None:
        self._world.gate(self._actor, "barrier")
        self._world.barrier(self._actor)

    def _effect(self, call: str, effect: Callable[[], bool | None]) -> bool:
        world, rng, habits = self._world, self._world.rng, self._world.habits
        world.gate(self._actor, call)
        fate = rng.random() if not world._is_quiet else 1.0
        if fate < habits.kill / 2:
            raise Killed(call)
        if (fate := fate - habits.kill / 2) < habits.late_effect:
            world.late.append((self._actor, lambda: _quietly(effect)))
            raise errors.ST001.error(f"found no answer to {call}, expected one")
        found = bool(effect())
        if (fate := fate - habits.late_effect) < habits.lost_answer:
            raise errors.ST001.error(f"found no answer to {call}, expected one")
        if fate - habits.lost_answer < habits.kill / 2:
            raise Killed(call)
        return found


class _Raw:
    """Reads objects for the oracle, unseen by the scheduler."""

    def __init__(self, found: dict[str, bytes]) -> None:
        self._objects = found

    def get(self, name: str) -> bytes:
        return self._objects[name]

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        return self.get(name)[offset : offset + length]

    def size(self, name: str) -> int:
        return len(self._objects[name])


def _quietly(effect: Callable[[], object]) -> None:
    try:
        effect()
    except NotFound:
        return
