"""Every verb of care killed at every call to the store: no backup is harmed, and the same verb again ends the work.

The sweeps of a backup are in test_backup_kill_sweep, of a collection alone in test_collect, of keys alone in
test_keys; what collections find in between is in test_copy, test_repair and test_rewrite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext

import pytest

from caring import (
    KINDS,
    OTHER,
    PASSPHRASE,
    TIMELINE_HISTORY,
    Life,
    collected,
    died_everywhere,
    furnished,
    must_be_sound,
    must_be_unharmed,
    must_end_tidy,
    must_hold_wal,
    relative,
    rotated,
    spoil,
    wasteful,
)
from repository_samples import CHEAP, CLUSTER, DATABASE, MEBIBYTE, NOON, TIMELINE, back_up, take_files, wal_bytes
from rewriting import History, changed_files, copy_of, large_files, must_hold, opened_again
from safepoint import errors
from safepoint.model.lsn import TimelineId
from safepoint.repository import Repository, create_repository, open_repository
from safepoint.repository.care.copy import copy
from safepoint.repository.care.repair import repair
from safepoint.repository.care.rewrite import plan_repack, plan_reseal, repack, reseal
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.verify import verify
from safepoint.repository.commit.leases import list_packs, open_leases, revoke
from safepoint.repository.names import DESCRIPTION_NAME, pack_name
from safepoint.repository.opening import open_keys
from safepoint.stores import MemoryStore, Store

Verb = Callable[[Repository], object]


def swept(life: Life, verb: Verb, check: Callable[[Repository], None]) -> int:
    """The verb dies at each of its calls, each time from the same beginning, and `check` is called.

    Before that what is left must be unharmed; after it, whole, tidy and with all WAL. Returns how many calls it makes.
    """

    def look(left: Store) -> None:
        again = life.again(left)
        must_be_unharmed(again, _held(again, life.history))
        check(again)
        must_end_tidy(again)
        must_be_sound(again, _held(again, life.history))

    calls = died_everywhere(life.store, lambda store: verb(life.again(store)), look)
    assert calls > 0
    return calls


def _held(repository: Repository, history: Mapping[str, Mapping[str, bytes]]) -> History:
    """Of these, the backups that exist."""
    return {manifest.id: dict(history[manifest.id]) for manifest in opened_again(repository).backups()}


def test_a_collection() -> None:
    """Of what an expired backup left, of an abandoned one's packs, and of packs that were replaced."""
    life = furnished(MemoryStore(), backups=2, pages=10)
    with life.repository.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        take_files(writer.ingest, large_files(9, 5))
    repository = rotated(life.repository)
    reseal(repository)
    repository.expire_backup("b0", reason="a test")
    left = Life(repository=repository, history={"b1": life.history["b1"]})

    def check(again: Repository) -> None:
        must_hold(again, left.history)
        collected(again)
        assert list_packs(again.store) == opened_again(again).needed_packs()
        must_hold_wal(again)

    assert swept(left, collected, check) > 60


def test_an_expiry() -> None:
    """The backup exists, whole, or does not; again it is gone, or known to be, and its packs go."""
    life = furnished(MemoryStore())

    def check(again: Repository) -> None:
        before = {manifest.id for manifest in again.backups()}
        assert before in ({"b0", "b1", "b2"}, {"b0", "b2"})
        with nullcontext() if "b1" in before else pytest.raises(errors.Misconfigured, match="BK003"):
            again.expire_backup("b1", reason="a test")
        must_hold(again, {key: life.history[key] for key in ("b0", "b2")})
        collected(again)
        assert list(again.store.list("backups/")) == sorted(b.manifest for b in again.backup_state().existing)

    assert swept(life, lambda at: at.expire_backup("b1", reason="a test"), check) > 10


def test_a_repack() -> None:
    """Nothing is left to repack once it has run again."""
    life = wasteful(MemoryStore())

    def check(again: Repository) -> None:
        repack(opened_again(again))
        assert plan_repack(opened_again(again)).packs == ()

    assert swept(life, repack, check) > 20


def test_a_reseal() -> None:
    """Nothing of the older generation is needed once it has run again."""
    before = furnished(MemoryStore(), backups=1)
    life = Life(repository=rotated(before.repository), history=before.history)

    def check(again: Repository) -> None:
        reseal(opened_again(again))
        assert plan_reseal(opened_again(again)).packs == ()
        must_hold_wal(again)

    assert swept(life, reseal, check) > 20


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy(kind: str) -> None:
    """Into a target that has the first of two backups; again the rest comes."""
    source = furnished(MemoryStore(), backups=2, pages=10)
    target = relative(source.repository, kind, MemoryStore())
    copy(source.repository, target, backups=["b0"])
    life = Life(repository=target, history=source.history)

    def check(again: Repository) -> None:
        assert copy(source.again(), opened_again(again)).is_whole
        must_hold(again, source.history)
        must_hold_wal(again)

    assert swept(life, lambda at: copy(source.again(), at), check) > 20


def test_a_copy_of_packs_that_were_sealed_anew() -> None:
    """The sibling gets the generation of keys made since, first; whoever opens it with its own key reads everything."""
    source = furnished(MemoryStore(), backups=1, pages=10)
    target = relative(source.repository, "sibling", MemoryStore())
    copy(source.repository, target)
    repository = rotated(source.repository)
    files = changed_files(source.history["b0"], 9, pages=1)
    back_up(repository, files, "b1", parent=repository.backup("b0"))
    reseal(repository)
    life = Life(repository=target, history={**source.history, "b1": files})

    def check(left: Store) -> None:
        held = {manifest.id for manifest in open_repository(left, OTHER).backups()}
        must_be_unharmed(open_repository(left, OTHER), {key: life.history[key] for key in held})
        assert copy(opened_again(repository), open_repository(left, OTHER)).is_whole
        again = open_repository(left, OTHER)
        must_end_tidy(again)
        must_be_sound(again, life.history)

    def work(store: Store) -> None:
        copy(opened_again(repository), open_repository(store, OTHER))

    assert died_everywhere(target.store, work, check) > 20


@pytest.mark.parametrize("kind", KINDS)
def test_a_repair(kind: str) -> None:
    """Of the largest pack and all indexes; again nothing is left unrepaired."""
    life = furnished(MemoryStore(), backups=1, pages=10)
    other = relative(life.repository, kind, MemoryStore())
    copy(life.repository, other)
    largest = max(map(pack_name, list_packs(life.store)), key=life.store.size)
    names = spoil(life.store, [largest, *life.store.list("indexes/")])

    def check(left: Store) -> None:
        again = life.again(left)
        assert repair(again, copies=[opened_again(other)], damaged=names).unrepaired == ()
        must_hold(again, life.history)
        must_end_tidy(again)
        must_be_sound(again, life.history)
        must_hold_wal(again)

    def work(store: Store) -> None:
        repair(life.again(store), copies=[opened_again(other)], damaged=names)

    assert died_everywhere(life.store, work, check) > 20


def test_a_verification() -> None:
    """What it wrote down holds, and the next one reads what it had not."""
    life = furnished(MemoryStore(), backups=1, pages=10)

    def check(again: Repository) -> None:
        assert verify(opened_again(again), Selection.due()).is_whole
        assert verify(opened_again(again), Selection.due()).remaining == 0

    assert swept(life, lambda at: verify(at, Selection.all()), check) > 10


def test_a_revocation() -> None:
    """The lease is open, or has ended: what its writer put goes."""
    life = furnished(MemoryStore(), backups=1, pages=10)
    writing = life.repository.write_backup(database=DATABASE, cluster=CLUSTER)
    writer = writing.__enter__()
    take_files(writer.ingest, large_files(9, 5))
    writer.ingest.finish()
    before = Life(repository=opened_again(life.repository, copy_of(life.store)), history=life.history)
    writing.__exit__(None, None, None)
    (lease,) = open_leases(before.store, before.repository.keyring)

    def unlock(at: Repository) -> None:
        revoke(at.store, at.keyring, lease.id, by="a test", clock=at.clock)

    def check(again: Repository) -> None:
        unlock(again)
        assert collected(again).deleted_packs > 0

    swept(before, unlock, check)


def test_wal_histories_and_records() -> None:
    """Each put again is success, each object is there once, and nothing half."""
    life = furnished(MemoryStore(), backups=1, pages=10)
    start = TIMELINE, life.repository.wal_pieces(CLUSTER)[-1].end
    more, wal = TIMELINE_HISTORY + b"\n2\t0/5000000\ttwo\n", wal_bytes(3, MEBIBYTE // 8)

    def verb(at: Repository) -> None:
        at.put_wal_range(CLUSTER, *start, wal, history=b"", mark=None)
        at.put_history(CLUSTER, TimelineId(3), more)
        at.append_record("drill", {"database": "shop", "seconds": 2.5})
        at.flush_journal()

    def check(again: Repository) -> None:
        verb(again)
        assert again.read_wal(again.wal_pieces(CLUSTER)[-1]) == wal
        assert again.read_history(CLUSTER, TimelineId(3)) == more
        seconds = [record["seconds"] for record in again.records("drill")]
        assert (seconds[0], seconds[-1]) == (1.5, 2.5)

    swept(life, verb, check)


def test_the_creation_of_a_sibling() -> None:
    """It exists and opens, or does not and can be made; then it takes what the other holds."""
    source = furnished(MemoryStore(), backups=1, pages=10)

    def make(store: Store) -> Repository:
        opened = open_keys(source.store, PASSPHRASE)
        return create_repository(store, OTHER, cost=CHEAP, sibling_of=opened, clock=lambda: NOON)

    def check(left: Store) -> None:
        again = open_repository(left, OTHER) if DESCRIPTION_NAME in left.list("") else make(left)
        copy(source.again(), again)
        must_be_sound(again, source.history)

    assert died_everywhere(MemoryStore(), make, check) > 3
