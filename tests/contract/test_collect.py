"""Collections over every store, and killed at every call."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from safepoint import errors
from safepoint.repository.care.collect import Collected, collect, plan_collection
from safepoint.repository.commit import parallel
from safepoint.repository.commit.backups import CommittedBackup, existing_backups, expire, names_ever_committed
from safepoint.repository.commit.lease_objects import LEASES_PREFIX, begin_name, end_name
from safepoint.repository.commit.leases import HeldLease, begin_lease, list_packs, pack_object_name
from safepoint.repository.commit.tombstones import dead_packs, decide, packs_name, put_set, verdict_name
from safepoint.repository.sealing.objects import fetch
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.stores import Capabilities, FolderStore, MemoryStore, Store
from safepoint.stores.faults import Fault, FaultyStore, Killed

_KEYRING = Keyring(family=bytes(16), masters={1: bytes(32)}, is_encrypted=True)
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_PACK_BYTES = 1000


class _Site:
    """A store whose manifests are the ids of the packs they need."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = _NOON
        self.dropped: set[bytes] = set()
        self.claimed: frozenset[str] = frozenset()
        self._made = 0

    def begin(self) -> HeldLease:
        return begin_lease(self.store, _KEYRING, purpose="backup", database="shop", clock=lambda: self.now)

    def put_pack(self, lease: HeldLease | None = None) -> bytes:
        self._made += 1
        tag = bytes(8) if lease is None else lease.tag
        pack = self._made.to_bytes(22, "big") + tag + b"\0\1"
        self.store.put_if_absent(pack_object_name(pack), bytes(_PACK_BYTES), durable=False)
        return pack

    def commit(self, lease: HeldLease, *packs: bytes) -> str:
        self.store.barrier()
        name = f"backups/7/{lease.id}"
        lease.commit(name, b"".join(packs))
        return name

    def mark(self, backups: Sequence[CommittedBackup]) -> AbstractSet[bytes]:
        bodies = [fetch(self.store, backup.manifest, Kind.MANIFEST) for backup in backups]
        return {body[at : at + 32] for body in bodies for at in range(0, len(body), 32)}

    def plan(self, *, force: bool = False) -> Collected:
        return plan_collection(
            self.store,
            _KEYRING,
            mark=self.mark,
            clock=lambda: self.now,
            force=force,
            claimed=lambda: self.claimed,
        )

    def collect(self, *, force: bool = False) -> Collected:
        return collect(
            self.store,
            _KEYRING,
            mark=self.mark,
            drop_packs_from_indexes=self.dropped.update,
            clock=lambda: self.now,
            force=force,
            claimed=lambda: self.claimed,
        )

    def refuses(self, match: str) -> None:
        """Neither plan nor collection, nor a forced one, gets anywhere; nothing is changed."""
        before = {name: self.store.get(name) for name in self.store.list("")}
        for act in (self.plan, self.collect, lambda: self.collect(force=True)):
            with pytest.raises(errors.Refused, match=f"RP011: found {match}"):
                act()
        assert {name: self.store.get(name) for name in self.store.list("")} == before

    def packs(self) -> frozenset[bytes]:
        return list_packs(self.store)


@pytest.fixture
def site(store: Store) -> _Site:
    """An empty one over each store."""
    return _Site(store)


def test_only_what_nothing_refers_to_goes(site: _Site) -> None:
    """Packs of the backup stay, others go from store and indexes; the plan said so, and changed nothing."""
    lease = site.begin()
    kept, garbage = site.put_pack(lease), site.put_pack()
    site.commit(lease, kept)
    before = list(site.store.list(""))

    planned = site.plan()
    assert list(site.store.list("")) == before
    done = site.collect()

    assert planned == done
    assert (done.deleted_packs, done.deleted_bytes, done.referenced_packs) == (1, _PACK_BYTES, 1)
    assert (site.packs(), site.dropped) == ({kept}, {garbage})
    assert dead_packs(site.store, _KEYRING) == {garbage}
    assert [name for name in site.store.list("tombstones/") if not name.endswith("/verdict")] == []


def test_an_expired_backup_leaves_what_others_share(site: _Site) -> None:
    """Two backups share a pack; the first expires, and only its own pack goes."""
    first, second = site.begin(), site.begin()
    shared, own = site.put_pack(first), site.put_pack(first)
    name = site.commit(first, shared, own)
    site.commit(second, shared)
    expire(site.store, _KEYRING, name, "old", lambda: site.now)

    site.collect()

    assert site.packs() == {shared}


def test_garbage_waits_for_the_writer_that_may_have_reused_it(site: _Site) -> None:
    """The first run condemns and waits, naming the writer; what it then refers to stays, the rest goes."""
    reused, garbage = site.put_pack(), site.put_pack()
    lease = site.begin()

    planned, first = site.plan(), site.collect()
    assert planned.waiting == first.waiting
    (waiting,) = first.waiting
    assert (first.deleted_packs, waiting.packs, waiting.stored_bytes) == (0, 2, 2 * _PACK_BYTES)
    assert [each.id for each in waiting.leases] == [lease.id]
    assert site.plan().waiting == first.waiting
    assert site.begin().abandon() is not False

    site.commit(lease, reused)
    done = site.collect()

    assert (site.packs(), done.waiting, done.deleted_packs) == ({reused}, (), 1)
    assert garbage in site.dropped
    assert site.begin().is_usable(reused)


def test_packs_of_a_writer_at_work_are_left_alone(site: _Site) -> None:
    """Packs that carry the tag of an open lease are not even condemned: the next backup may reuse them at once."""
    lease = site.begin()
    own = site.put_pack(lease)

    done = site.collect()
    site.commit(lease, own)

    assert (done.spared_packs, done.waiting) == (1, ())
    assert site.begin().is_usable(own)


def test_a_writer_unheard_of_for_a_day_is_revoked(site: _Site) -> None:
    """Its packs go in the same run; woken up, it makes no backup."""
    lease = site.begin()
    own = site.put_pack(lease)
    site.now += timedelta(hours=25)

    planned, done = site.plan(), site.collect()

    assert [each.id for each in done.revoked] == [lease.id]
    assert planned == done
    assert site.packs() == frozenset()
    with pytest.raises(errors.Refused, match="BK001"):
        site.commit(lease, own)
    assert existing_backups(site.store, _KEYRING).existing == ()


def test_force_revokes_whoever_works(site: _Site) -> None:
    """For when a dead writer is known to be dead."""
    site.put_pack(site.begin())

    assert len(site.collect(force=True).revoked) == 1
    assert site.packs() == frozenset()


def test_manifests_that_are_no_backups_go(site: _Site) -> None:
    """Those of ended leases; not that of a writer at work."""
    dead, at_work = site.begin(), site.begin()
    for lease in (dead, at_work):
        site.store.put_if_absent(f"backups/7/{lease.id}", b"")
    dead.abandon()

    assert site.collect().removed_manifests == (f"backups/7/{dead.id}",)
    assert list(site.store.list("backups/")) == [f"backups/7/{at_work.id}"]


def test_nothing_is_deleted_while_a_backup_is_missing(site: _Site) -> None:
    """RP011 names the hidden manifest; its packs wait until it is back or given up."""
    lease = site.begin()
    pack = site.put_pack(lease)
    name = site.commit(lease, pack)
    site.store.delete(name)

    for act in (site.plan, site.collect):
        with pytest.raises(errors.Refused, match=f"RP011: found {name} missing"):
            act()

    assert site.packs() == {pack}
    expire(site.store, _KEYRING, name, "given up", lambda: site.now)
    site.collect()
    assert site.packs() == frozenset()


def test_nothing_is_deleted_while_an_end_is_damaged() -> None:
    """Nobody knows whether it committed."""
    site = _Site(MemoryStore())
    lease = site.begin()
    site.put_pack()
    site.store.put_if_absent(end_name(lease.id), b"damaged")

    with pytest.raises(errors.Refused, match=f"RP011: found {end_name(lease.id)}"):
        site.collect()


def test_nothing_is_deleted_while_the_lease_of_a_manifest_is_hidden() -> None:
    """It looks like a copy from elsewhere that was killed; given up, it goes, and its name stays spent."""
    site = _Site(MemoryStore())
    lease = site.begin()
    pack = site.put_pack(lease)
    name = site.commit(lease, pack)
    site.put_pack()
    for each in list(site.store.list(f"{LEASES_PREFIX}{lease.id}/")):
        site.store.delete(each)

    site.refuses(f"{name} to be no backup and no lease of its own")

    expire(site.store, _KEYRING, name, "given up", lambda: site.now)
    site.collect()
    assert (site.packs(), name in names_ever_committed(site.store, _KEYRING)) == (frozenset(), True)


@pytest.mark.parametrize("hidden", ["end", "lease and manifest"])
def test_nothing_is_deleted_while_a_backup_that_the_journal_tells_of_does_not_exist(hidden: str) -> None:
    """Its lease is not revoked either, however old: with what was hidden, the backup is back. Or it is given up."""
    site = _Site(MemoryStore())
    lease = site.begin()
    pack = site.put_pack(lease)
    name = site.commit(lease, pack)
    site.claimed = frozenset({name})
    assert site.collect().deleted_packs == 0
    site.now += timedelta(hours=30)
    lost = [end_name(lease.id)] if hidden == "end" else [begin_name(lease.id), end_name(lease.id), name]
    kept = {each: site.store.get(each) for each in lost}
    for each in lost:
        site.store.delete(each)

    site.refuses(f"{name} to be no backup and the journal")

    for each, data in kept.items():
        site.store.put_if_absent(each, data)
    assert [backup.manifest for backup in existing_backups(site.store, _KEYRING).existing] == [name]
    for each in lost:
        site.store.delete(each)
    expire(site.store, _KEYRING, name, "given up", lambda: site.now, site.claimed)
    site.claimed = frozenset()
    site.collect()
    assert site.packs() == frozenset()


def test_a_backup_that_expires_meanwhile_is_not_missed(site: _Site) -> None:
    """The journal said that it exists, before: asked again, it does not."""
    lease = site.begin()
    name = site.commit(lease, site.put_pack(lease))
    answers = iter([frozenset({name}), frozenset[str]()])
    expire(site.store, _KEYRING, name, "old", lambda: site.now)

    done = collect(
        site.store,
        _KEYRING,
        mark=site.mark,
        drop_packs_from_indexes=site.dropped.update,
        clock=lambda: site.now,
        claimed=lambda: next(answers),
    )

    assert done.deleted_packs == 1


def test_no_verdict_kills_a_pack_that_a_backup_needs() -> None:
    """However it came to name one: the other packs that it names stay as well."""
    site = _Site(MemoryStore())
    lease = site.begin()
    pack, other = site.put_pack(lease), site.put_pack()
    site.commit(lease, pack)
    decide(site.store, _KEYRING, put_set(site.store, _KEYRING, [pack, other]), [pack, other])

    site.refuses(f"{pack_object_name(pack)} dead in tombstones/")


def test_what_a_sibling_decided_counts_there_only() -> None:
    """It seals with the same keys: its verdicts kill no pack here, and its ends bring no backup back."""
    site = _Site(MemoryStore())
    lease = site.begin()
    name = site.commit(lease, pack := site.put_pack(lease))
    sibling = dataclasses.replace(_KEYRING, repository=b"sibling's id....")
    set_id = put_set(site.store, sibling, [pack])
    decide(site.store, sibling, set_id, [pack])

    assert site.collect().unreadable == (packs_name(set_id), verdict_name(set_id))
    assert site.packs() == {pack}

    manifest = site.store.get(name)
    expire(site.store, _KEYRING, name, "old", lambda: site.now)
    planted = begin_lease(site.store, sibling, purpose="copy", database="shop", clock=lambda: site.now)
    planted.commit(name, manifest)
    found = existing_backups(site.store, _KEYRING)
    assert (found.existing, found.unreadable) == ((), (end_name(planted.id),))


def test_a_damaged_set_is_told_and_given_up() -> None:
    """A set that does not open gets an empty verdict; its packs are found anew."""
    site = _Site(MemoryStore())
    site.put_pack()
    site.store.put_if_absent(packs_name("ab"), b"damaged")

    done = site.collect()

    assert (done.unreadable, site.packs()) == ((packs_name("ab"),), frozenset())
    assert site.collect().unreadable == ()


def test_a_damaged_verdict_is_told_and_its_packs_stay() -> None:
    """Which of them are dead is unknown: nobody reuses them, nobody deletes them."""
    site = _Site(MemoryStore())
    pack = site.put_pack()
    lease = site.begin()
    site.collect(force=False)
    (set_id,) = {name.split("/")[1] for name in site.store.list("tombstones/")}
    site.store.put_if_absent(verdict_name(set_id), b"damaged")
    lease.abandon()

    for _ in range(2):
        assert site.collect().unreadable == (verdict_name(set_id),)
    assert site.packs() == {pack}
    assert not site.begin().is_usable(pack)


def test_a_pack_that_the_store_keeps_stays_condemned() -> None:
    """A lock makes a deletion fail: the pack is named, the others go, and the set stays open until it can go."""

    class Locked(MemoryStore):
        locked = ""

        def delete(self, name: str) -> None:
            if name == self.locked:
                raise errors.ST004.error("found the object locked, expected the right to delete it")
            super().delete(name)

    store = Locked()
    site = _Site(store)
    locked, free = site.put_pack(), site.put_pack()
    store.locked = pack_object_name(locked)

    assert site.collect().undeletable == (pack_object_name(locked),)
    assert site.packs() == {locked}
    assert not site.begin().is_usable(locked)
    store.locked = ""
    assert site.collect(force=True).deleted_packs == 1
    assert (site.packs(), free in site.dropped) == (frozenset(), True)


class _OneAtATime(MemoryStore):
    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(conditional_put=False)


def test_without_conditional_put_nothing_is_collected_beside_a_writer() -> None:
    """RP010, however old the lease; force is the operator's word that it is dead."""
    site = _Site(_OneAtATime())
    site.put_pack(site.begin())
    site.now += timedelta(days=9)

    for act in (site.plan, site.collect):
        with pytest.raises(errors.Refused, match="RP010"):
            act()

    assert site.collect(force=True).deleted_packs == 1


def _play(site: _Site) -> None:
    """A life: a backup, another that shares with it, a writer at work across a collection, an expiry, a collection."""
    first = site.begin()
    shared, own = site.put_pack(first), site.put_pack(first)
    name = site.commit(first, shared, own)
    site.put_pack()
    second = site.begin()
    site.collect()
    expire(site.store, _KEYRING, name, "old", lambda: site.now)
    site.commit(second, shared, site.put_pack(second))
    site.collect()
    third = site.begin()
    site.put_pack(third)
    third.abandon()
    site.collect()


def _check_survivors(store: Store) -> None:
    """What exists is whole; then collections end with nothing but that, and a writer works."""
    after = _Site(store)
    after.now = _NOON + timedelta(days=2)
    found = existing_backups(store, _KEYRING)
    assert found.is_complete
    assert after.mark(found.existing) <= after.packs()
    after.collect()
    done = after.collect()
    assert (after.packs(), done.waiting) == (after.mark(found.existing), ())
    assert set(store.list("backups/")) == {backup.manifest for backup in found.existing}
    lease = after.begin()
    after.commit(lease, bytes(32))
    assert len(existing_backups(store, _KEYRING).existing) == len(found.existing) + 1


@pytest.mark.parametrize("fault", [Fault.KILL, Fault.KILL_AFTER, Fault.POWER_CUT, Fault.FAIL, Fault.LOST_ANSWER])
def test_killed_at_any_call_nothing_is_lost(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every store call of a scripted life: no incomplete backup is listed, and others carry on."""
    _sweep(MemoryStore, fault, monkeypatch)


def test_killed_at_any_call_in_a_folder_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same over files."""
    folders = iter(range(10_000))
    _sweep(lambda: FolderStore(tmp_path / str(next(folders))), Fault.KILL_AFTER, monkeypatch, every=7)


def _sweep(make: Callable[[], Store], fault: Fault, monkeypatch: pytest.MonkeyPatch, every: int = 1) -> None:
    monkeypatch.setattr(parallel, "THREADS", 1)
    whole = FaultyStore(make())
    _play(_Site(whole))
    assert len(whole.calls) > 80

    for at in range(1, len(whole.calls) + 1, every):
        inner = make()
        with contextlib.suppress(Killed, errors.Unreachable):
            _play(_Site(FaultyStore(inner, fault, at=at)))
        _check_survivors(inner)
