"""Collection: what nothing refers to goes, what anybody may refer to stays; and what is done about damage."""

from __future__ import annotations

from datetime import timedelta

import pytest

from collecting import KEYRING, PACK_BYTES, Site
from safepoint import errors
from safepoint.repository.care.collection import collect
from safepoint.repository.commit.backups import existing_backups, expire
from safepoint.repository.commit.tombstones import dead_packs
from safepoint.repository.names import expired_name, pack_name
from safepoint.stores import Capabilities, MemoryStore, Store


@pytest.fixture
def site(store: Store) -> Site:
    """An empty one over each store."""
    return Site(store)


def test_only_what_nothing_refers_to_goes(site: Site) -> None:
    """Packs of the backup stay, others go from store and indexes; the plan said so, and changed nothing."""
    lease = site.begin()
    kept, garbage = site.put_pack(lease), site.put_pack()
    site.commit(lease, kept)
    before = list(site.store.list(""))

    planned = site.plan()
    assert list(site.store.list("")) == before
    done = site.collect()

    assert planned == done
    assert (done.deleted_packs, done.deleted_bytes, done.referenced_packs) == (1, PACK_BYTES, 1)
    assert (site.packs(), site.dropped) == ({kept}, {garbage})
    assert dead_packs(site.store, KEYRING) == {garbage}
    assert [name for name in site.store.list("tombstones/") if not name.endswith("/verdict")] == []


def test_an_expired_backup_leaves_what_others_share(site: Site) -> None:
    """Two backups share a pack; the first expires, and only its own pack goes."""
    first, second = site.begin(), site.begin()
    shared, own = site.put_pack(first), site.put_pack(first)
    name = site.commit(first, shared, own)
    site.commit(second, shared)
    expire(site.store, KEYRING, name, "old", lambda: site.now)

    site.collect()

    assert site.packs() == {shared}


def test_garbage_waits_for_the_writer_that_may_have_reused_it(site: Site) -> None:
    """The first run condemns and waits, naming the writer; what it then refers to stays, the rest goes."""
    reused, garbage = site.put_pack(), site.put_pack()
    lease = site.begin()

    planned, first = site.plan(), site.collect()
    assert planned.waiting == first.waiting
    (waiting,) = first.waiting
    assert (first.deleted_packs, waiting.packs, waiting.stored_bytes) == (0, 2, 2 * PACK_BYTES)
    assert [each.id for each in waiting.leases] == [lease.id]
    assert site.plan().waiting == first.waiting
    assert site.begin().abandon() is not False

    site.commit(lease, reused)
    done = site.collect()

    assert (site.packs(), done.waiting, done.deleted_packs) == ({reused}, (), 1)
    assert garbage in site.dropped
    assert site.begin().is_usable(reused)


def test_packs_of_a_writer_at_work_are_left_alone(site: Site) -> None:
    """Packs that carry the tag of an open lease are not even condemned: the next backup may reuse them at once."""
    lease = site.begin()
    own = site.put_pack(lease)

    done = site.collect()
    site.commit(lease, own)

    assert (done.spared_packs, done.waiting) == (1, ())
    assert site.begin().is_usable(own)


def test_a_writer_unheard_of_for_a_day_is_revoked(site: Site) -> None:
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
    assert existing_backups(site.store, KEYRING).existing == ()


def test_force_revokes_whoever_works(site: Site) -> None:
    """For when a dead writer is known to be dead."""
    site.put_pack(site.begin())

    assert len(site.collect(force=True).revoked) == 1
    assert site.packs() == frozenset()


def test_manifests_whose_names_are_spent_go(site: Site) -> None:
    """Not that of a writer at work, nor that of one that ended without it: a sibling may know that as a backup."""
    dead, at_work, spent = site.begin(), site.begin(), site.begin()
    for lease in (dead, at_work, spent):
        site.store.put_if_absent(f"backups/7/{lease.id}", b"")
    dead.abandon()
    spent.abandon()
    site.store.put_if_absent(expired_name(spent.id), b"")

    assert site.collect().removed_manifests == (f"backups/7/{spent.id}",)
    assert set(site.store.list("backups/")) == {f"backups/7/{at_work.id}", f"backups/7/{dead.id}"}


def test_a_backup_that_expires_meanwhile_is_not_missed(site: Site) -> None:
    """The journal said that it exists, before: asked again, it does not."""
    lease = site.begin()
    name = site.commit(lease, site.put_pack(lease))
    answers = iter([frozenset({name}), frozenset[str]()])
    expire(site.store, KEYRING, name, "old", lambda: site.now)

    done = collect(
        site.store,
        KEYRING,
        mark=site.mark,
        drop_packs_from_indexes=site.dropped.update,
        clock=lambda: site.now,
        claimed=lambda: next(answers),
    )

    assert done.deleted_packs == 1


def test_a_pack_that_the_store_keeps_stays_condemned() -> None:
    """A lock makes a deletion fail: the pack is named, the others go, and the set stays open until it can go."""

    class Locked(MemoryStore):
        locked = ""

        def delete(self, name: str) -> None:
            if name == self.locked:
                raise errors.ST004.error("found the object locked, expected the right to delete it")
            super().delete(name)

    store = Locked()
    site = Site(store)
    locked, free = site.put_pack(), site.put_pack()
    store.locked = pack_name(locked)

    assert site.collect().undeletable == (pack_name(locked),)
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
    site = Site(_OneAtATime())
    site.put_pack(site.begin())
    site.now += timedelta(days=9)

    for act in (site.plan, site.collect):
        with pytest.raises(errors.Refused, match="RP010"):
            act()

    assert site.collect(force=True).deleted_packs == 1
