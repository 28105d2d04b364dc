"""Collection where something is hidden or damaged: nothing is deleted that might be needed."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from collecting import KEYRING, Site
from safepoint import errors
from safepoint.repository.commit.backups import existing_backups, expire, names_ever_committed
from safepoint.repository.commit.leases import begin_lease
from safepoint.repository.commit.tombstones import decide, new_set_id, put_set
from safepoint.repository.names import LEASES_PREFIX, begin_name, end_name, pack_name, packs_name, verdict_name
from safepoint.stores import MemoryStore, Store


@pytest.fixture
def site(store: Store) -> Site:
    """An empty one over each store."""
    return Site(store)


def test_nothing_is_deleted_while_a_backup_is_missing(site: Site) -> None:
    """RP011 names the hidden manifest; its packs wait until it is back or given up."""
    lease = site.begin()
    pack = site.put_pack(lease)
    name = site.commit(lease, pack)
    site.store.delete(name)

    for act in (site.plan, site.collect):
        with pytest.raises(errors.Refused, match=f"RP011: found {name} missing"):
            act()

    assert site.packs() == {pack}
    expire(site.store, KEYRING, name, "given up", lambda: site.now)
    site.collect()
    assert site.packs() == frozenset()


def test_nothing_is_deleted_while_an_end_is_damaged() -> None:
    """Nobody knows whether it committed."""
    site = Site(MemoryStore())
    lease = site.begin()
    site.put_pack()
    site.store.put_if_absent(end_name(lease.id), b"damaged")

    with pytest.raises(errors.Refused, match=f"RP011: found {end_name(lease.id)}"):
        site.collect()


def test_nothing_is_deleted_while_the_lease_of_a_manifest_is_hidden() -> None:
    """It looks like a copy from elsewhere that was killed; given up, it goes, and its name stays spent."""
    site = Site(MemoryStore())
    lease = site.begin()
    pack = site.put_pack(lease)
    name = site.commit(lease, pack)
    site.put_pack()
    for each in list(site.store.list(f"{LEASES_PREFIX}{lease.id}/")):
        site.store.delete(each)

    site.refuses(f"{name} to be no backup and no lease of its own")

    expire(site.store, KEYRING, name, "given up", lambda: site.now)
    site.collect()
    assert (site.packs(), name in names_ever_committed(site.store, KEYRING)) == (frozenset(), True)


@pytest.mark.parametrize("hidden", ["end", "lease and manifest"])
def test_nothing_is_deleted_while_a_backup_that_the_journal_tells_of_does_not_exist(hidden: str) -> None:
    """Its lease is not revoked either, however old: with what was hidden, the backup is back. Or it is given up."""
    site = Site(MemoryStore())
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
    assert [backup.manifest for backup in existing_backups(site.store, KEYRING).existing] == [name]
    for each in lost:
        site.store.delete(each)
    expire(site.store, KEYRING, name, "given up", lambda: site.now, site.claimed)
    site.claimed = frozenset()
    site.collect()
    assert site.packs() == frozenset()


def test_no_verdict_kills_a_pack_that_a_backup_needs() -> None:
    """However it came to name one: the other packs that it names stay as well."""
    site = Site(MemoryStore())
    lease = site.begin()
    pack, other = site.put_pack(lease), site.put_pack()
    site.commit(lease, pack)
    decide(site.store, KEYRING, put_set(site.store, KEYRING, [pack, other]), [pack, other])

    site.refuses(f"{pack_name(pack)} dead in tombstones/")


def test_what_a_sibling_decided_counts_there_only() -> None:
    """It seals with the same keys: its verdicts kill no pack here, and its ends bring no backup back."""
    site = Site(MemoryStore())
    lease = site.begin()
    name = site.commit(lease, pack := site.put_pack(lease))
    sibling = dataclasses.replace(KEYRING, repository=b"sibling's id....")
    set_id = put_set(site.store, sibling, [pack])
    decide(site.store, sibling, set_id, [pack])

    assert site.collect().strangers == (packs_name(set_id), verdict_name(set_id))
    assert site.packs() == {pack}

    manifest = site.store.get(name)
    expire(site.store, KEYRING, name, "old", lambda: site.now)
    planted = begin_lease(site.store, sibling, purpose="copy", database="shop", clock=lambda: site.now)
    planted.commit(name, manifest)
    found = existing_backups(site.store, KEYRING)
    assert (found.existing, found.unreadable) == ((), (end_name(planted.id),))


def test_a_damaged_set_is_told_and_given_up() -> None:
    """A set that does not open gets an empty verdict; its packs are found anew."""
    site = Site(MemoryStore())
    site.put_pack()
    name = packs_name(new_set_id(KEYRING))
    site.store.put_if_absent(name, b"damaged")

    done = site.collect()

    assert (done.unreadable, site.packs()) == ((name,), frozenset())
    assert site.collect().unreadable == ()


def test_a_damaged_verdict_is_told_and_its_packs_stay() -> None:
    """Which of them are dead is unknown: nobody reuses them, nobody deletes them."""
    site = Site(MemoryStore())
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
