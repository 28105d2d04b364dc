"""Who acts in a world of interleaved calls: writers, collectors, expirers, readers; and whole schedules of them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Generator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import SimpleNamespace
from unittest import mock

from interleaving import KEYRING, Actor, Body, Broken, Habits, World
from safepoint import errors
from safepoint.repository import parallel
from safepoint.repository.care.collection import collect
from safepoint.repository.commit import lease_objects, tombstones
from safepoint.repository.commit.backups import CommittedBackup, existing_backups, expire
from safepoint.repository.commit.leases import HeldLease, begin_lease
from safepoint.repository.names import pack_name
from safepoint.repository.sealing import objects
from safepoint.repository.sealing.seal import Kind


def put_packs(actor: Actor, lease: HeldLease, *, count: int, is_tagged: bool) -> frozenset[bytes]:
    """New packs, durable, then listed in an index: nobody learns of packs that a power cut may take."""
    world, own = actor.world, []
    for _ in range(count):
        pack = world.rng.randbytes(32)
        own.append(pack[:22] + lease.tag + pack[30:] if is_tagged else pack)
        actor.store.put_if_absent(pack_name(own[-1]), b"pack", durable=False)
    actor.store.barrier()
    actor.store.put_if_absent(f"indexes/{world.rng.randbytes(16).hex()}", b"index")
    world.indexed.update(own)
    return frozenset(own)


def give_up(actor: Actor, lease: HeldLease, own: AbstractSet[bytes]) -> None:
    """Ends the lease; packs are left alone."""
    del actor, own
    lease.abandon()


@dataclass(frozen=True, kw_only=True)
class Ways:
    """What a test may put in place of the right way to do things."""

    put_packs: Callable[..., frozenset[bytes]] = put_packs
    give_up: Callable[[Actor, HeldLease, AbstractSet[bytes]], None] = give_up


def writer(ways: Ways, *, reuses: float = 0.6, is_tagged: bool = False, abandons: float = 0.1) -> Body:
    """Begins, reuses what it may, puts packs, commits; says so to the world when it was told that it exists."""

    def body(actor: Actor) -> None:
        try:
            lease = begin_lease(actor.store, KEYRING, purpose="backup", database="shop", clock=actor.clock)
        except errors.Unreachable:
            return
        own: frozenset[bytes] = frozenset()
        try:
            known = sorted(actor.world.indexed)
            reused = {pack for pack in known if lease.is_usable(pack) and actor.rng.random() < reuses}
            lease.renew()
            own = ways.put_packs(actor, lease, count=actor.rng.randrange(3), is_tagged=is_tagged)
            if actor.rng.random() < abandons:
                ways.give_up(actor, lease, own)
                return
        except errors.Unreachable:
            _try(lambda: ways.give_up(actor, lease, own))
            return
        _commit(actor, lease, frozenset(reused | own))

    return body


def collector(*, runs: int = 1, force: float = 0.15) -> Body:
    """Collects; its mark reads every manifest."""

    def body(actor: Actor) -> None:
        for _ in range(runs):
            is_forced = actor.rng.random() < force
            try:
                collect_once(actor, force=is_forced)
            except errors.Unreachable:
                continue

    return body


def collect_once(actor: Actor, *, force: bool) -> None:
    """One collection in this world."""
    world = actor.world

    def mark(backups: Sequence[CommittedBackup]) -> AbstractSet[bytes]:
        found: set[bytes] = set()
        for backup in backups:
            objects.fetch(actor.store, backup.manifest, Kind.MANIFEST)
            found |= world.packs_of[backup.manifest]
        return found

    def drop(_: AbstractSet[bytes]) -> None:
        list(actor.store.list("indexes/"))

    collect(actor.store, KEYRING, mark=mark, drop_packs_from_indexes=drop, clock=actor.clock, force=force)


def expirer(*, share: float = 0.6) -> Body:
    """Expires some of what exists."""

    def body(actor: Actor) -> None:
        try:
            for backup in existing_backups(actor.store, KEYRING).existing:
                if actor.rng.random() < share:
                    expire(actor.store, KEYRING, backup.manifest, "old", actor.clock)
        except (errors.Unreachable, errors.Misconfigured):
            return

    return body


def reader() -> Body:
    """Lists backups, and is told what exists: nothing else, nothing less."""

    def body(actor: Actor) -> None:
        world = actor.world
        before, gone = world.existing(), {world.ends[lease][1] for lease in world.expired if lease in world.ends}
        found = existing_backups(actor.store, KEYRING)
        listed = {backup.manifest for backup in found.existing}
        world.ever_existed |= world.existing()
        if not found.is_complete:
            raise Broken(f"listing found {found.missing} missing and {found.unreadable} unreadable")
        if listed - world.ever_existed or listed & gone:
            raise Broken(f"listing shows {listed - world.ever_existed or listed & gone}, which do not exist")
        if before & world.existing() - listed:
            raise Broken(f"listing hides {before & world.existing() - listed}")

    return body


def _commit(actor: Actor, lease: HeldLease, packs: frozenset[bytes]) -> None:
    world = actor.world
    name = f"backups/1/{lease.id}"
    world.packs_of[name] = packs
    sealed = world.rng.randbytes(16)
    for _ in range(3):
        try:
            lease.commit(name, sealed)
        except errors.Unreachable:
            continue
        except errors.Refused as error:
            if error.spec is not errors.BK001:
                raise
            return
        world.acknowledged[name] = lease.id
        world.check()
        return


def _try(call: Callable[[], object]) -> None:
    try:
        call()
    except errors.Unreachable:
        return


# Whole schedules.


@contextlib.contextmanager
def _deterministic(world: World) -> Generator[None]:
    """Ids come from the world's dice, and everything of an actor happens in its thread."""
    dice = SimpleNamespace(token_hex=lambda count: world.rng.randbytes(count).hex(), token_bytes=world.rng.randbytes)
    with (
        mock.patch.object(parallel, "THREADS", 1),
        mock.patch.object(lease_objects, "secrets", dice),
        mock.patch.object(tombstones, "secrets", dice),
    ):
        yield


def play(seed: int, ways: Ways | None = None, habits: Habits | None = None) -> World:
    """One schedule, then peace: collectors remove all garbage, and a writer works. Raises what does not hold."""
    ways = ways or Ways()
    world = World(seed, habits or _habits_of(seed))
    with _deterministic(world):
        _set_the_scene(world, ways)
        for _ in range(world.rng.randrange(1, 3)):
            world.run(_cast(world, ways))
        _restore_peace(world, ways)
    return world


_CALM = Habits(kill=0, lost_answer=0, late_effect=0, stop=0, power_cut=0, longest_step=0.01, skew=0)


@dataclass(frozen=True, kw_only=True)
class Attack:
    """An order of calls that broke a weaker protocol: garbage and who acts, and the script. `tests` play it."""

    cast: Callable[[Ways], list[tuple[str, Body]]]
    script: tuple[tuple[str, str], ...]

    def play(self, seed: int, ways: Ways) -> World:
        """The attack, then whatever is left in any order, then peace."""
        world = World(seed, _CALM)
        with _deterministic(world):
            world.run([("first", writer(ways, abandons=0))], is_quiet=True)
            garbage = world.rng.randbytes(32)
            world.objects[pack_name(garbage)] = b"pack"
            world.indexed.add(garbage)
            world.run(self.cast(ways), script=self.script)
            _restore_peace(world, ways)
        return world


def _habits_of(seed: int) -> Habits:
    """Some schedules are calm, so that rare orders of many calls come about; in some a day passes in a few calls."""
    rng = random.Random(-seed - 1)
    trouble = rng.choice((0.0, 0.002, 0.01))
    return Habits(
        kill=trouble,
        lost_answer=trouble,
        late_effect=trouble,
        stop=trouble / 2,
        late_listing=rng.choice((0.1, 0.5)),
        power_cut=0.15 if trouble else 0.05,
        longest_step=rng.choice((0.02, 0.2, 3.0)),
        skew=rng.choice((0.0, 5.0, 30.0)),
    )


def _set_the_scene(world: World, ways: Ways) -> None:
    world.run([("first", writer(ways, abandons=0))], is_quiet=True)
    world.run([("dead", writer(ways, reuses=0.3, abandons=1))], is_quiet=True)
    if world.rng.random() < 0.3:
        world.run([("old", expirer(share=1))], is_quiet=True)


def _cast(world: World, ways: Ways) -> list[tuple[str, Body]]:
    rng = world.rng
    cast: list[tuple[str, Body]] = [("C1", collector(runs=rng.randrange(1, 3)))]
    if rng.random() < 0.4:
        return cast + rng.choice((_with_a_writer, _with_a_rival, _with_change))(ways)
    cast += [("C2", collector(runs=rng.randrange(1, 3)))] * (rng.random() < 0.7)
    for number in range(rng.randrange(1, 4)):
        is_tagged = rng.random() < 0.3
        cast.append((f"W{number + 1}", writer(ways, is_tagged=is_tagged, reuses=rng.choice((0.3, 0.6, 1.0)))))
    cast += [("E", expirer(share=rng.choice((0.3, 0.6, 1.0))))] * (rng.random() < 0.8)
    cast += [("R", reader())] * (rng.random() < 0.2)
    return cast


def _with_a_writer(ways: Ways) -> list[tuple[str, Body]]:
    return [("W1", writer(ways, reuses=1, abandons=0))]


def _with_a_rival(ways: Ways) -> list[tuple[str, Body]]:
    return [("C2", collector()), ("W1", writer(ways, reuses=1, abandons=0))]


def _with_change(ways: Ways) -> list[tuple[str, Body]]:
    return [*_with_a_rival(ways), ("E", expirer(share=1))]


def _restore_peace(world: World, ways: Ways) -> None:
    world.habits = Habits(skew=0, longest_step=0.1)
    for _ in range(3):
        world.run([("last", lambda actor: collect_once(actor, force=True))], is_quiet=True)
    needed = {pack_name(pack) for name in world.existing() for pack in world.packs_of[name]}
    stored = {name for name in world.objects if name.startswith("packs/")}
    left = [name for name in world.objects if name.startswith("tombstones/") and not name.endswith("/verdict")]
    strays = {name for name in world.objects if name.startswith("backups/") and world.is_spent(name)}
    if stored - needed or left or strays:
        raise Broken(f"garbage stays: {stored - needed or left or strays}")
    before = world.existing()
    world.run([("next", writer(ways, abandons=0)), ("reader", reader())], is_quiet=True)
    if len(world.existing()) != len(before) + 1:
        raise Broken(f"found {len(world.existing())} backups after {len(before)} and one more")
