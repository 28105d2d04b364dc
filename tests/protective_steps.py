"""The protocol of writers and collectors with one protective step less, each: what takes it away."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from collections.abc import Set as AbstractSet
from threading import get_ident
from typing import Any, cast
from unittest import mock

from interleaving import Actor
from interleaving_actors import Ways
from safepoint import errors
from safepoint.repository.care import collection as care
from safepoint.repository.commit import backups, leases, tombstones
from safepoint.repository.commit.leases import HeldLease
from safepoint.repository.names import pack_name, verdict_name
from safepoint.stores.port import NotFound

# One protective step less, each.


@contextlib.contextmanager
def lists_packs_before_tombstones() -> Generator[Ways]:
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
def does_not_read_tombstones() -> Generator[Ways]:
    nothing = tombstones.Condemned(packs=frozenset(), unreadable=())
    with mock.patch.object(leases, "condemned_packs", return_value=nothing):
        yield Ways()


@contextlib.contextmanager
def begins_after_it_looked() -> Generator[Ways]:
    right = leases.begin_lease

    def begin_late(store: Any, keyring: Any, **facts: Any) -> HeldLease:
        condemned = leases.condemned_packs(store, keyring)
        packs = leases.list_packs(store)
        lease = right(store, keyring, **facts)
        lease._usable = packs - condemned.packs
        return lease

    with mock.patch("interleaving_actors.begin_lease", begin_late):
        yield Ways()


@contextlib.contextmanager
def marks_once_before_it_condemns() -> Generator[Ways]:
    right = care._Writing._referenced

    def mark_once(self: Any) -> AbstractSet[bytes]:
        if not hasattr(self, "_marked"):
            self._marked = right(self)
        return self._marked

    with mock.patch.object(care._Writing, "_referenced", mark_once):
        yield Ways()


@contextlib.contextmanager
def does_not_list_leases_after_the_tombstone() -> Generator[Ways]:
    right = care._Writing._condemn

    def condemn(self: Any, packs: Any) -> None:
        with mock.patch.object(self, "_open_leases", return_value=tuple(self._leases.values())):
            right(self, packs)

    with mock.patch.object(care._Writing, "_condemn", condemn):
        yield Ways()


@contextlib.contextmanager
def does_not_wait_for_leases() -> Generator[Ways]:
    with mock.patch.object(care._Writing, "_awaited", return_value=()):
        yield Ways()


@contextlib.contextmanager
def marks_before_leases_have_ended() -> Generator[Ways]:
    ready = care._Writing._ready

    def mark_then_wait(self: Any, condemned: Any, _: Any) -> Any:
        early = self._referenced()
        self._referenced = lambda: early
        now_open = {lease.id: lease for lease in self._open_leases()}
        return ready(self, condemned, now_open)

    with mock.patch.object(care._Writing, "_ready", mark_then_wait):
        yield Ways()


@contextlib.contextmanager
def deletes_the_end_of_the_revoked() -> Generator[Ways]:
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
def each_collector_follows_its_own_verdict() -> Generator[Ways]:
    def decide(store: Any, keyring: Any, set_id: str, dead: Any) -> frozenset[bytes]:
        tombstones._put_packs(store, keyring, verdict_name(set_id), dead)
        return frozenset(dead)

    with mock.patch.object(tombstones, "decide", decide):
        yield Ways()


@contextlib.contextmanager
def deletes_verdicts() -> Generator[Ways]:
    right = tombstones.close_set

    def close_set(store: Any, set_id: str) -> None:
        right(store, set_id)
        with contextlib.suppress(NotFound):
            store.delete(verdict_name(set_id))

    with mock.patch.object(tombstones, "close_set", close_set):
        yield Ways()


@contextlib.contextmanager
def closes_the_set_before_its_packs_are_gone() -> Generator[Ways]:
    right = care._Writing._finish

    def finish(self: Any, set_id: str, dead: Any) -> None:
        if dead is not None:
            tombstones.close_set(self._store, set_id)
        right(self, set_id, dead)

    with mock.patch.object(care._Writing, "_finish", finish):
        yield Ways()


@contextlib.contextmanager
def removes_manifests_that_are_only_undecided() -> Generator[Ways]:
    right = care._Writing._require_known

    def all_void(self: Any) -> backups.Backups:
        found = right(self)
        undecided = found.void + found.undecided
        return backups.Backups(existing=found.existing, void=undecided, spent=undecided)

    with mock.patch.object(care._Writing, "_require_known", all_void):
        yield Ways()


@contextlib.contextmanager
def lists_manifests_before_leases() -> Generator[Ways]:
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
            "interleaving_actors.existing_backups", lambda store, keyring: existing(cast("Any", Early(store)), keyring)
        ),
        mock.patch.object(backups, "_look_again", return_value=(False, False)),
    ):
        yield Ways()


@contextlib.contextmanager
def does_not_look_again_for_a_manifest() -> Generator[Ways]:
    with mock.patch.object(backups, "_look_again", return_value=(False, False)):
        yield Ways()


@contextlib.contextmanager
def takes_its_commit_for_granted() -> Generator[Ways]:
    with mock.patch.object(HeldLease, "_put_end", put_end_blindly):
        yield Ways()


def put_end_blindly(self: Any, end: Any) -> Any:
    self._store.put_if_absent(f"leases/{self.id}/end", self._sealed_end(end))
    return end


@contextlib.contextmanager
def expires_by_deleting_the_manifest_alone() -> Generator[Ways]:
    def expire(store: Any, _keyring: Any, name: str, _reason: str, _clock: Any) -> None:
        with contextlib.suppress(NotFound):
            store.delete(name)

    with mock.patch("interleaving_actors.expire", expire):
        yield Ways()


@contextlib.contextmanager
def deletes_packs_when_it_gives_up() -> Generator[Ways]:
    def give_up(actor: Actor, lease: HeldLease, own: AbstractSet[bytes]) -> None:
        lease.abandon()
        for pack in own:
            with contextlib.suppress(NotFound, errors.Unreachable):
                actor.store.delete(pack_name(pack))

    yield Ways(give_up=give_up)


@contextlib.contextmanager
def puts_the_index_before_the_barrier() -> Generator[Ways]:
    def put_packs(actor: Actor, lease: HeldLease, *, count: int, is_tagged: bool) -> frozenset[bytes]:
        own = frozenset(actor.rng.randbytes(32) for _ in range(count))
        for pack in sorted(own):
            actor.store.put_if_absent(pack_name(pack), b"pack", durable=False)
        actor.store.put_if_absent(f"indexes/{actor.rng.randbytes(16).hex()}", b"index")
        actor.world.indexed.update(own)
        actor.store.barrier()
        return own

    yield Ways(put_packs=put_packs)


@contextlib.contextmanager
def no_barrier_before_the_set_is_closed() -> Generator[Ways]:
    right = care._Writing._bury

    def bury(self: Any, dead: Any) -> None:
        with mock.patch.object(self._store, "barrier", return_value=None):
            right(self, dead)

    with mock.patch.object(care._Writing, "_bury", bury):
        yield Ways()


@contextlib.contextmanager
def believes_that_what_it_deleted_is_gone() -> Generator[Ways]:
    right = care._Writing._close

    def close(self: Any, set_id: str, dead: Any) -> None:
        with mock.patch.object(care, "list_packs", return_value=frozenset()):
            right(self, set_id, dead)

    with mock.patch.object(care._Writing, "_close", close):
        yield Ways()


STEPS: tuple[Callable[[], contextlib.AbstractContextManager[Ways]], ...] = (
    lists_packs_before_tombstones,
    does_not_read_tombstones,
    begins_after_it_looked,
    marks_once_before_it_condemns,
    does_not_list_leases_after_the_tombstone,
    does_not_wait_for_leases,
    marks_before_leases_have_ended,
    deletes_the_end_of_the_revoked,
    each_collector_follows_its_own_verdict,
    deletes_verdicts,
    closes_the_set_before_its_packs_are_gone,
    removes_manifests_that_are_only_undecided,
    lists_manifests_before_leases,
    does_not_look_again_for_a_manifest,
    takes_its_commit_for_granted,
    expires_by_deleting_the_manifest_alone,
    deletes_packs_when_it_gives_up,
    puts_the_index_before_the_barrier,
    no_barrier_before_the_set_is_closed,
    believes_that_what_it_deleted_is_gone,
)
