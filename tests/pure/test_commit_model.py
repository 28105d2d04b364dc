"""Writers, collectors and expirers in any order of their store calls, and proof that each protective step is needed.

`make campaign-interleavings` runs many more schedules (`SAFEPOINT_INTERLEAVINGS`, default 200,000, over all cores) and
takes each protective step away in turn, to see that the invariants notice.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
from collections.abc import Callable, Generator, Iterable
from collections.abc import Set as AbstractSet
from concurrent.futures import ProcessPoolExecutor
from threading import get_ident
from typing import Any, cast
from unittest import mock

import pytest

from interleaving import Actor, Attack, Broken, Ways, collector, expirer, play, reader, writer
from safepoint import errors
from safepoint.repository.care import collect as care
from safepoint.repository.commit import backups, leases, tombstones
from safepoint.repository.commit.leases import HeldLease, pack_object_name
from safepoint.stores.port import NotFound

_SCHEDULES = int(os.environ.get("SAFEPOINT_INTERLEAVINGS", "0"))
_IN_A_BLOCK = 500
_MOST_UNTIL_CAUGHT = 10_000


def _play_all(seeds: Iterable[int]) -> tuple[int, int]:
    """Schedules and store calls; a failure names its seed."""
    schedules = calls = 0
    for seed in seeds:
        try:
            calls += play(seed).calls
        except BaseException as error:
            raise AssertionError(f"schedule {seed}: {error}") from error
        schedules += 1
    return schedules, calls


def test_no_schedule_breaks_a_backup() -> None:
    """250 known schedules: what exists is whole, what was acknowledged exists, and garbage goes in the end."""
    _play_all(range(250))


def test_no_schedule_drawn_today_breaks_a_backup() -> None:
    """50 schedules that nobody has seen before; a failure prints its seed."""
    first = random.SystemRandom().randrange(1 << 40)

    _play_all(range(first, first + 50))


@pytest.mark.skipif(not _SCHEDULES, reason="a campaign: `make campaign-interleavings`")
@pytest.mark.timeout(0)
def test_a_campaign_of_schedules_breaks_no_backup() -> None:
    """As many schedules as were asked for, from a random beginning."""
    first = random.SystemRandom().randrange(1 << 40)
    blocks = [range(at, at + _IN_A_BLOCK) for at in range(first, first + _SCHEDULES, _IN_A_BLOCK)]

    with ProcessPoolExecutor() as pool:
        found = list(pool.map(_play_all, blocks))

    schedules, calls = (sum(numbers) for numbers in zip(*found, strict=True))
    print(f"\n{schedules:,} schedules, {calls:,} store calls, from seed {first}")  # noqa: T201 - a campaign's result
    assert schedules >= _SCHEDULES


# One protective step less, each.


@contextlib.contextmanager
def _lists_packs_before_tombstones() -> Generator[Ways]:
    listed: dict[int, frozenset[bytes]] = {}
    condemned, packs = leases.condemned_packs, leases.list_packs

    def list_first(store: Any, keyring: Any) -> tombstones.Condemned:
        listed[get_ident()] = packs(store)
        return condemned(store, keyring)

    with (
        mock.patch.object(leases, "condemned_packs", list_first),
        mock.patch.object(leases, "list_packs", side_effect=lambda _: listed[get_ident()]),
    ):
        yield Ways()


@contextlib.contextmanager
def _does_not_read_tombstones() -> Generator[Ways]:
    nothing = tombstones.Condemned(packs=frozenset(), unreadable=())
    with mock.patch.object(leases, "condemned_packs", return_value=nothing):
        yield Ways()


@contextlib.contextmanager
def _begins_after_it_looked() -> Generator[Ways]:
    right = leases.begin_lease

    def begin_late(store: Any, keyring: Any, **facts: Any) -> HeldLease:
        condemned = leases.condemned_packs(store, keyring)
        packs = leases.list_packs(store)
        lease = right(store, keyring, **facts)
        lease._usable = packs - condemned.packs
        return lease

    with mock.patch("interleaving.begin_lease", begin_late):
        yield Ways()


@contextlib.contextmanager
def _marks_once_before_it_condemns() -> Generator[Ways]:
    right = care._Writing._referenced

    def mark_once(self: Any) -> AbstractSet[bytes]:
        if not hasattr(self, "_marked"):
            self._marked = right(self)
        return self._marked

    with mock.patch.object(care._Writing, "_referenced", mark_once):
        yield Ways()


@contextlib.contextmanager
def _does_not_list_leases_after_the_tombstone() -> Generator[Ways]:
    right = care._Writing._condemn

    def condemn(self: Any, packs: Any, open_leases: Any) -> None:
        with mock.patch.object(self, "_open_leases", return_value=tuple(open_leases.values())):
            right(self, packs, open_leases)

    with mock.patch.object(care._Writing, "_condemn", condemn):
        yield Ways()


@contextlib.contextmanager
def _does_not_wait_for_leases() -> Generator[Ways]:
    with mock.patch.object(care._Writing, "_awaited", return_value=()):
        yield Ways()


@contextlib.contextmanager
def _marks_before_leases_have_ended() -> Generator[Ways]:
    ready = care._Writing._ready

    def mark_then_wait(self: Any, condemned: Any, _: Any) -> Any:
        early = self._referenced()
        self._referenced = lambda: early
        now_open = {lease.id: lease for lease in self._open_leases()}
        return ready(self, condemned, now_open)

    with mock.patch.object(care._Writing, "_ready", mark_then_wait):
        yield Ways()


@contextlib.contextmanager
def _deletes_the_end_of_the_revoked() -> Generator[Ways]:
    right = leases.revoke

    def revoke(store: Any, keyring: Any, lease_id: str, **facts: Any) -> Any:
        end = right(store, keyring, lease_id, **facts)
        if end.by is not None:
            with contextlib.suppress(NotFound):
                store.delete(f"leases/{lease_id}/end")
        return end

    with mock.patch.object(care, "revoke", revoke):
        yield Ways()


@contextlib.contextmanager
def _each_collector_follows_its_own_verdict() -> Generator[Ways]:
    def decide(store: Any, keyring: Any, set_id: str, dead: Any) -> frozenset[bytes]:
        tombstones._put_packs(store, keyring, tombstones.verdict_name(set_id), dead)
        return frozenset(dead)

    with mock.patch.object(tombstones, "decide", decide):
        yield Ways()


@contextlib.contextmanager
def _deletes_verdicts() -> Generator[Ways]:
    right = tombstones.close_set

    def close_set(store: Any, set_id: str) -> None:
        right(store, set_id)
        with contextlib.suppress(NotFound):
            store.delete(tombstones.verdict_name(set_id))

    with mock.patch.object(tombstones, "close_set", close_set):
        yield Ways()


@contextlib.contextmanager
def _closes_the_set_before_its_packs_are_gone() -> Generator[Ways]:
    right = care._Writing._bury

    def bury(self: Any, set_id: str, dead: Any) -> None:
        tombstones.close_set(self._store, set_id)
        right(self, set_id, dead)

    with mock.patch.object(care._Writing, "_bury", bury):
        yield Ways()


@contextlib.contextmanager
def _removes_manifests_that_are_only_undecided() -> Generator[Ways]:
    right = care._Writing._require_known

    def all_void(self: Any) -> backups.Backups:
        found = right(self)
        return backups.Backups(existing=found.existing, void=found.void + found.undecided)

    with mock.patch.object(care._Writing, "_require_known", all_void):
        yield Ways()


@contextlib.contextmanager
def _lists_manifests_before_leases() -> Generator[Ways]:
    class Early:
        def __init__(self, store: Any) -> None:
            self._store, self._early = store, tuple(store.list(backups.BACKUPS_PREFIX))

        def list(self, prefix: str) -> Any:
            return iter(self._early) if prefix == backups.BACKUPS_PREFIX else self._store.list(prefix)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

    existing = backups.existing_backups
    with (
        mock.patch(
            "interleaving.existing_backups", lambda store, keyring: existing(cast("Any", Early(store)), keyring)
        ),
        mock.patch.object(backups, "_look_again", return_value=(False, False)),
    ):
        yield Ways()


@contextlib.contextmanager
def _does_not_look_again_for_a_manifest() -> Generator[Ways]:
    with mock.patch.object(backups, "_look_again", return_value=(False, False)):
        yield Ways()


@contextlib.contextmanager
def _takes_its_commit_for_granted() -> Generator[Ways]:
    with mock.patch.object(HeldLease, "_put_end", _put_end_blindly):
        yield Ways()


def _put_end_blindly(self: Any, end: Any) -> Any:
    self._store.put_if_absent(f"leases/{self.id}/end", self._sealed_end(end))
    return end


@contextlib.contextmanager
def _expires_by_deleting_the_manifest_alone() -> Generator[Ways]:
    def expire(store: Any, _keyring: Any, name: str, _reason: str, _clock: Any) -> None:
        with contextlib.suppress(NotFound):
            store.delete(name)

    with mock.patch("interleaving.expire", expire):
        yield Ways()


@contextlib.contextmanager
def _deletes_packs_when_it_gives_up() -> Generator[Ways]:
    def give_up(actor: Actor, lease: HeldLease, own: AbstractSet[bytes]) -> None:
        lease.abandon()
        for pack in own:
            with contextlib.suppress(NotFound, errors.Unreachable):
                actor.store.delete(pack_object_name(pack))

    yield Ways(give_up=give_up)


@contextlib.contextmanager
def _puts_the_index_before_the_barrier() -> Generator[Ways]:
    def put_packs(actor: Actor, lease: HeldLease, *, count: int, is_tagged: bool) -> frozenset[bytes]:
        own = frozenset(actor.rng.randbytes(32) for _ in range(count))
        for pack in sorted(own):
            actor.store.put_if_absent(pack_object_name(pack), b"pack", durable=False)
        actor.store.put_if_absent(f"indexes/{actor.rng.randbytes(16).hex()}", b"index")
        actor.world.indexed.update(own)
        actor.store.barrier()
        return own

    yield Ways(put_packs=put_packs)


@contextlib.contextmanager
def _no_barrier_before_the_set_is_closed() -> Generator[Ways]:
    right = care._Writing._bury

    def bury(self: Any, set_id: str, dead: Any) -> None:
        with mock.patch.object(self._store, "barrier", return_value=None):
            right(self, set_id, dead)

    with mock.patch.object(care._Writing, "_bury", bury):
        yield Ways()


@contextlib.contextmanager
def _believes_that_what_it_deleted_is_gone() -> Generator[Ways]:
    right = care._Writing._bury

    def bury(self: Any, set_id: str, dead: Any) -> None:
        with mock.patch.object(care, "list_packs", return_value=frozenset()):
            right(self, set_id, dead)

    with mock.patch.object(care._Writing, "_bury", bury):
        yield Ways()


_STEPS: tuple[Callable[[], contextlib.AbstractContextManager[Ways]], ...] = (
    _lists_packs_before_tombstones,
    _does_not_read_tombstones,
    _begins_after_it_looked,
    _marks_once_before_it_condemns,
    _does_not_list_leases_after_the_tombstone,
    _does_not_wait_for_leases,
    _marks_before_leases_have_ended,
    _deletes_the_end_of_the_revoked,
    _each_collector_follows_its_own_verdict,
    _deletes_verdicts,
    _closes_the_set_before_its_packs_are_gone,
    _removes_manifests_that_are_only_undecided,
    _lists_manifests_before_leases,
    _does_not_look_again_for_a_manifest,
    _takes_its_commit_for_granted,
    _expires_by_deleting_the_manifest_alone,
    _deletes_packs_when_it_gives_up,
    _puts_the_index_before_the_barrier,
    _no_barrier_before_the_set_is_closed,
    _believes_that_what_it_deleted_is_gone,
)


_COMMIT = "put backups/"
_eager = functools.partial(writer, reuses=1, abandons=0)
_ATTACKS: dict[Callable[[], contextlib.AbstractContextManager[Ways]], Attack] = {
    # The set was closed between the two listings of the writer, and its pack is still in the first.
    _lists_packs_before_tombstones: Attack(
        cast=lambda ways: [("C1", collector(force=0)), ("W1", _eager(ways))],
        script=(("C1", "delete packs/"), ("W1", "list tombstones/"), ("C1", ""), ("W1", "")),
    ),
    # W0 rescues the pack, C2 closes the set, W1 reuses it, the backup of W0 expires; then C3 wakes up and marks.
    _each_collector_follows_its_own_verdict: (
        _late_collector := Attack(
            cast=lambda ways: [
                *((name, collector(force=0)) for name in ("C1", "C2", "C3")),
                *((name, _eager(ways)) for name in ("W0", "W1")),
                ("E", expirer(share=1)),
            ],
            script=(
                *(("W0", _COMMIT), ("C1", ""), ("W0", ""), ("C3", "get tombstones/"), ("C3", "list leases/")),
                *(("C2", ""), ("W1", _COMMIT), ("E", ""), ("C3", ""), ("W1", "")),
            ),
        )
    ),
    _deletes_verdicts: _late_collector,
    # The store restarts and brings a deleted pack back, after its set was closed; C3 knows the verdict.
    _no_barrier_before_the_set_is_closed: Attack(
        cast=lambda ways: [
            *((name, collector(force=0)) for name in ("C1", "C2", "C3")),
            ("W0", writer(ways, reuses=0, abandons=1)),
            ("W1", _eager(ways)),
        ],
        script=(
            *(("W0", "barrier"), ("C1", ""), ("W0", ""), ("C3", "delete packs/"), ("C2", ""), ("restart", "")),
            *(("W1", _COMMIT), ("C3", ""), ("W1", "")),
        ),
    ),
    # The store restarts between delete and barrier, W1 reuses what came back, and a power cut brings back the set.
    _believes_that_what_it_deleted_is_gone: Attack(
        cast=lambda ways: [("C1", collector(force=0)), ("W1", _eager(ways)), ("R", reader())],
        script=(("C1", "delete packs/"), ("C1", "barrier"), ("restart", ""), ("C1", ""), ("W1", ""), ("power cut", "")),
    ),
    # W2 learns of packs from an index, and a power cut takes them.
    _puts_the_index_before_the_barrier: Attack(
        cast=lambda ways: [("W1", _eager(ways)), ("W2", _eager(ways))],
        script=(("W1", "barrier"), ("W2", ""), ("power cut", "")),
    ),
    # W2 reuses what W1 put, and W1 cleans up behind itself.
    _deletes_packs_when_it_gives_up: Attack(
        cast=lambda ways: [("W1", writer(ways, reuses=0, abandons=1)), ("W2", _eager(ways))],
        script=(("W1", "put leases/"), ("W1", "put leases/"), ("W2", ""), ("W1", "")),
    ),
}


@pytest.mark.parametrize("step", _ATTACKS, ids=lambda step: step.__name__.strip("_"))
def test_known_attacks_are_harmless_and_one_step_is_why(
    step: Callable[[], contextlib.AbstractContextManager[Ways]],
) -> None:
    """The order of calls breaks nothing; without the step that was made against it, it breaks a backup.

    Or a collection finds the verdict that would have broken it.
    """
    attack = _ATTACKS[step]

    _play_attack(attack, Ways())

    with step() as ways, pytest.raises((Broken, errors.Refused), match=r"exists and lacks|RP011: .* dead in"):
        _play_attack(attack, ways)


def _play_attack(attack: Attack, ways: Ways) -> None:
    for seed in range(40):
        attack.play(seed, ways)


def schedules_until_caught(step: Callable[[], contextlib.AbstractContextManager[Ways]], most: int) -> tuple[int, str]:
    """How many schedules it took, and what was seen; (0, "") when nothing was."""
    for seed in range(most):
        try:
            with step() as ways:
                play(seed, ways)
        except (Broken, errors.SafepointError) as error:
            return seed + 1, str(error)
    return 0, ""


@pytest.mark.skipif(not _SCHEDULES, reason="a campaign: `make campaign-interleavings`")
@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    "step", [step for step in _STEPS if step not in _ATTACKS], ids=lambda step: step.__name__.strip("_")
)
def test_every_protective_step_is_needed(step: Callable[[], contextlib.AbstractContextManager[Ways]]) -> None:
    """Without it some schedule breaks an invariant; those that few schedules would find have an attack above."""
    schedules, seen = schedules_until_caught(step, _MOST_UNTIL_CAUGHT)

    print(f"\n{schedules} schedules: {seen}")  # noqa: T201 - a campaign's result
    assert schedules
