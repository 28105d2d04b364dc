"""Leases and the backups they commit, over every store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from safepoint import errors
from safepoint.repository.commit.backups import existing_backups, expire, names_ever_committed
from safepoint.repository.commit.lease_objects import Outcome
from safepoint.repository.commit.leases import HeldLease, begin_lease, open_leases, revoke
from safepoint.repository.commit.tombstones import close_set, new_set_id, put_set
from safepoint.repository.names import end_name, expired_name, pack_name, packs_name
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores import Capabilities, MemoryStore, Store
from safepoint.stores.faults import Fault, FaultyStore

_KEYRING = Keyring(family=bytes(16), masters={1: bytes(32)}, is_encrypted=True)
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _begin(store: Store, at: datetime = _NOON) -> HeldLease:
    return begin_lease(store, _KEYRING, purpose="backup", database="shop", clock=lambda: at)


def _name(lease: HeldLease) -> str:
    return f"backups/7/{lease.id}"


def _committed(store: Store) -> str:
    lease = _begin(store)
    lease.commit(_name(lease), b"manifest of " + lease.id.encode())
    return _name(lease)


def test_a_backup_exists_from_its_commit_to_its_expiry(store: Store) -> None:
    """Neither before nor after; and the name is known to be spent for ever."""
    lease = _begin(store)
    assert existing_backups(store, _KEYRING).existing == ()

    lease.commit(_name(lease), b"manifest")
    (found,) = existing_backups(store, _KEYRING).existing
    assert (found.manifest, found.lease) == (_name(lease), lease.id)

    expire(store, _KEYRING, _name(lease), "30 days are over", lambda: _NOON)
    assert existing_backups(store, _KEYRING).existing == ()
    assert existing_backups(store, _KEYRING).is_complete
    assert names_ever_committed(store, _KEYRING) == {_name(lease)}


def test_a_revoked_writer_makes_no_backup(store: Store) -> None:
    """BK001 says by whom; the manifest is withdrawn, and the lease stays ended."""
    lease = _begin(store)
    end = revoke(store, _KEYRING, lease.id, by="unlock", clock=lambda: _NOON)

    with pytest.raises(errors.Refused, match=r"BK001: .* revoked by unlock"):
        lease.commit(_name(lease), b"manifest")

    assert end.outcome is Outcome.REVOKED
    assert list(store.list("backups/")) == []
    assert open_leases(store, _KEYRING) == ()


def test_what_was_committed_cannot_be_revoked_nor_abandoned(store: Store) -> None:
    """The first end stands."""
    lease = _begin(store)
    lease.commit(_name(lease), b"manifest")

    assert revoke(store, _KEYRING, lease.id, by="unlock", clock=lambda: _NOON).outcome is Outcome.COMMITTED
    assert lease.abandon() is False
    assert len(existing_backups(store, _KEYRING).existing) == 1


def test_committing_again_is_the_same_commit(store: Store) -> None:
    """A writer that lost the answer may ask again."""
    lease = _begin(store)

    lease.commit(_name(lease), b"manifest")
    lease.commit(_name(lease), b"manifest")

    assert len(existing_backups(store, _KEYRING).existing) == 1


def test_a_taken_name_is_refused(store: Store) -> None:
    """RP007: two backups never share a name."""
    name = _committed(store)

    with pytest.raises(errors.Damaged, match="RP007"):
        _begin(store).commit(name, b"another manifest")


def test_packs_of_open_sets_are_not_usable(store: Store) -> None:
    """What is there is usable unless it is condemned; what is not there never is."""
    good, condemned = bytes([1]) * 32, bytes([2]) * 32
    for pack in (good, condemned):
        store.put_if_absent(pack_name(pack), b"pack")
    store.put_if_absent("packs/ab/stranger", b"")
    set_id = put_set(store, _KEYRING, [condemned])

    lease = _begin(store)
    close_set(store, set_id)
    later = _begin(store)

    assert [lease.is_usable(pack) for pack in (good, condemned, bytes(32))] == [True, False, False]
    assert later.is_usable(condemned)


def test_a_damaged_tombstone_makes_every_pack_unusable() -> None:
    """Which packs it names is unknown; the lease says which object is to blame."""
    store = MemoryStore()
    store.put_if_absent(pack_name(bytes(32)), b"pack")
    name = packs_name(new_set_id(_KEYRING))
    store.put_if_absent(name, b"damaged")

    lease = _begin(store)

    assert (lease.is_usable(bytes(32)), lease.unreadable) == (False, (name,))


def test_renewals_are_at_most_hourly(store: Store) -> None:
    """Asked every ten minutes for three hours, a lease renews itself three times, and was seen then."""
    now = [_NOON]
    lease = begin_lease(store, _KEYRING, purpose="backup", database="shop", clock=lambda: now[0])

    for minutes in range(0, 190, 10):
        now[0] = _NOON + timedelta(minutes=minutes)
        lease.renew()

    assert [name.rpartition("/")[2] for name in store.list("leases/") if "renewal" in name] == [
        "renewal-00000001",
        "renewal-00000002",
        "renewal-00000003",
    ]
    assert [found.seen_at for found in open_leases(store, _KEYRING)] == [_NOON + timedelta(hours=3)]


def test_an_open_lease_says_who_works(store: Store) -> None:
    """Purpose, database, host, process and age, for whoever decides about it."""
    _begin(store)

    (found,) = open_leases(store, _KEYRING)

    assert found.describe(_NOON + timedelta(hours=3)).startswith("backup of shop by host ")
    assert found.describe(_NOON + timedelta(hours=3)).endswith("last heard of 3h 00m ago")
    assert not found.is_stale(_NOON + timedelta(hours=24))
    assert found.is_stale(_NOON + timedelta(hours=24, seconds=1))
    assert not found.is_stale(_NOON - timedelta(days=3))


def test_a_hidden_manifest_is_named(store: Store) -> None:
    """Committed, not expired, not there: missing, until it comes back or is given up."""
    name = _committed(store)
    store.delete(name)

    found = existing_backups(store, _KEYRING)
    assert ([each.manifest for each in found.missing], found.existing, found.is_complete) == ([name], (), False)

    expire(store, _KEYRING, name, "lost for good", lambda: _NOON)
    assert existing_backups(store, _KEYRING).is_complete


def test_a_damaged_end_is_named_and_can_be_given_up() -> None:
    """Whether there is a backup is unknown; expiring its name settles it."""
    store = MemoryStore()
    name = _committed(store)
    lease_id = name.rpartition("/")[2]
    store.delete(end_name(lease_id))
    store.put_if_absent(end_name(lease_id), b"damaged")

    found = existing_backups(store, _KEYRING)
    assert (found.unreadable, found.existing, found.undecided) == ((end_name(lease_id),), (), (name,))

    expire(store, _KEYRING, name, "its end is damaged", lambda: _NOON)
    assert existing_backups(store, _KEYRING).is_complete


def test_only_manifests_that_nobody_can_commit_are_void(store: Store) -> None:
    """That of an ended lease. Undecided: that of a writer at work, and one whose lease is not known here."""
    at_work, ended = _begin(store), _begin(store)
    ended.abandon()
    copied = "backups/7/20200101T000000Z-0123456789abcdef"
    for name in (_name(at_work), _name(ended), copied):
        store.put_if_absent(name, b"manifest")

    found = existing_backups(store, _KEYRING)

    assert (found.void, set(found.undecided)) == ((_name(ended),), {_name(at_work), copied})


def test_expiring_what_does_not_exist_is_refused(store: Store) -> None:
    """BK003."""
    with pytest.raises(errors.Misconfigured, match="BK003"):
        expire(store, _KEYRING, "backups/7/none", "old", lambda: _NOON)


def test_an_expiry_that_died_halfway_is_finished_by_the_next() -> None:
    """After `expired` the backup is gone, whatever became of its manifest."""
    store = MemoryStore()
    name = _committed(store)
    store.put_if_absent(expired_name(name.rpartition("/")[2]), b"whatever it says")

    assert existing_backups(store, _KEYRING).void == (name,)
    expire(store, _KEYRING, name, "old", lambda: _NOON)

    assert list(store.list("backups/")) == []


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.LOST_ANSWER])
def test_a_lost_answer_never_hides_a_commit(fault: Fault) -> None:
    """At whichever call: when commit returns the backup exists; when it raises, asking again settles it."""
    for at in range(1, 6):
        memory = MemoryStore()
        lease = _begin(memory)
        lease._store = FaultyStore(memory, fault, at=at)

        try:
            lease.commit(_name(lease), b"manifest")
        except errors.Unreachable:
            lease.commit(_name(lease), b"manifest")

        assert [each.manifest for each in existing_backups(memory, _KEYRING).existing] == [_name(lease)]


class _OneAtATime(MemoryStore):
    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(conditional_put=False)


def test_without_conditional_put_one_writes_at_a_time() -> None:
    """RP010 names who is at work; the refused lease is ended at once."""
    store = _OneAtATime()
    lease = _begin(store)

    with pytest.raises(errors.Refused, match=r"RP010: .*\(backup of shop by host"):
        _begin(store)

    assert [found.id for found in open_leases(store, _KEYRING)] == [lease.id]
    lease.abandon()
    _begin(store)
