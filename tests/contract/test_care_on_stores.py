"""The care of a repository on every store that runs here: rewritten, copied, mended, collected, and still whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from caring import (
    KINDS,
    collected,
    defects,
    furnished,
    must_be_sound,
    must_be_verified,
    must_end_tidy,
    must_hold_wal,
    relative,
    rotated,
    spoil,
    wasteful,
)
from repository_samples import back_up, sample_manifest, with_files
from rewriting import changed_files, must_hold, opened_again
from safepoint import errors
from safepoint.repository.care.copy import Copied, copy
from safepoint.repository.care.repair import plan_repair, repair
from safepoint.repository.care.rewrite import plan_repack, plan_reseal, repack, reseal
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.verify import verify
from safepoint.repository.commit.leases import list_packs, open_leases, revoke
from safepoint.repository.names import pack_name
from safepoint.repository.sealing.seal import generation_of
from safepoint.stores import Store

NewStore = Callable[[], Store]


def test_a_check_and_a_verification_pass_what_is_whole(store: Store) -> None:
    """Structure and every byte; the next verification knows what this one read."""
    life = furnished(store)

    must_be_sound(life.repository, life.history)
    must_be_verified(life.repository)

    assert verify(life.again(), Selection.due()).remaining == 0
    must_hold_wal(life.again())


def test_after_a_rotation_and_a_reseal_the_newest_key_seals_all_packs(store: Store) -> None:
    """The old packs are garbage, and go; what backups hold stays, and the next one builds upon it."""
    life = furnished(store)
    repository = rotated(life.repository)
    old = list_packs(store)

    done = reseal(repository)
    gone = collected(repository)

    assert (done.packs, done.kept) == (len(old), ())
    assert gone.deleted_packs == len(old)
    assert {generation_of(pack) for pack in list_packs(store)} == {repository.keyring.generation}
    assert plan_reseal(opened_again(repository)).packs == ()
    files = changed_files(life.history["b2"], 9, pages=1)
    back_up(repository, files, "b3", parent=repository.backup("b2"))
    must_be_sound(repository, life.history | {"b3": files})
    must_hold_wal(repository)


def test_a_repack_and_a_collection_free_what_no_backup_needs(store: Store) -> None:
    """As the plan said; nothing is left to repack."""
    life = wasteful(store)
    plan = plan_repack(life.repository)

    done = repack(life.repository, plan)
    freed = collected(life.repository).deleted_bytes

    assert done.packs == len(plan.packs) > 0
    assert freed > done.written_bytes
    assert plan_repack(life.again()).packs == ()
    must_be_sound(life.repository, life.history)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_stands_for_itself(new_store: NewStore, kind: str) -> None:
    """Everything arrives, a second run finds nothing to do, and what the source keeps growing by follows."""
    life = furnished(new_store())
    target = relative(life.repository, kind, new_store())

    done = copy(life.repository, target)
    again = copy(life.again(), opened_again(target))

    assert (done.backups, done.is_whole) == (("b0", "b1", "b2"), True)
    assert again == Copied()
    files = changed_files(life.history["b2"], 9, pages=1)
    back_up(life.repository, files, "b3", parent=life.repository.backup("b2"))
    assert copy(life.again(), opened_again(target)).backups == ("b3",)
    must_be_sound(target, life.history | {"b3": files})
    must_be_verified(target)
    must_hold_wal(target)


def test_a_sibling_follows_through_a_rotation(new_store: NewStore) -> None:
    """The keys made since come with the copy, and packs that were sealed anew move as they are."""
    life = furnished(new_store(), backups=1)
    target = relative(life.repository, "sibling", new_store())
    copy(life.repository, target)
    repository = rotated(life.repository)
    files = changed_files(life.history["b0"], 9, pages=1)
    back_up(repository, files, "b1", parent=repository.backup("b0"))
    reseal(repository)
    collected(repository)

    done = copy(repository, opened_again(target))

    assert (done.backups, done.is_whole) == (("b1",), True)
    newest = {pack for pack in list_packs(target.store) if generation_of(pack) == repository.keyring.generation}
    assert newest
    assert newest <= list_packs(repository.store)


@pytest.mark.parametrize("kind", KINDS)
def test_spoiled_packs_come_back_from_a_copy(new_store: NewStore, kind: str) -> None:
    """A verification finds them, a repair fetches what they held, and nothing is damaged any more."""
    life = furnished(new_store(), backups=2)
    other = relative(life.repository, kind, new_store())
    copy(life.repository, other)
    spoiled = spoil(life.store, [max(map(pack_name, list_packs(life.store)), key=life.store.size)])
    found = verify(life.again(), Selection.all())
    assert {name for finding in found.findings for name in finding.objects} == set(spoiled)

    done = repair(life.again(), copies=[opened_again(other)], damaged=spoiled)

    assert (done.unrepaired, done.actions != ()) == ((), True)
    must_hold(life.repository, life.history)
    collected(life.repository)
    must_be_sound(life.repository, life.history)
    must_be_verified(life.repository)
    assert plan_repair(life.again(), copies=[other]).actions == ()


def test_a_missing_manifest_comes_back_from_a_sibling(new_store: NewStore) -> None:
    """Its object is the same, byte for byte."""
    life = furnished(new_store(), backups=2)
    sibling = relative(life.repository, "sibling", new_store())
    copy(life.repository, sibling)
    name, *_ = life.store.list("backups/")
    data = life.store.get(name)
    life.store.delete(name)
    assert [finding.objects for finding in defects(life.repository) if finding.is_damage] == [(name,)]

    assert repair(life.again(), copies=[sibling]).unrepaired == ()

    assert life.store.get(name) == data
    must_be_sound(life.repository, life.history)


def test_what_expired_is_collected_and_nothing_else(store: Store) -> None:
    """The packs of the expired backup alone go; a second collection finds nothing."""
    life = furnished(store)
    before = list_packs(store)

    life.repository.expire_backup("b1", reason="a test")
    done = collected(life.repository)

    left = {key: files for key, files in life.history.items() if key != "b1"}
    assert done.deleted_packs == len(before - list_packs(store))
    assert list_packs(store) == life.again().needed_packs()
    assert collected(life.repository).deleted_packs == 0
    must_be_sound(life.repository, left)
    with pytest.raises(errors.SafepointError, match="BK003"):
        life.again().backup("b1")


def test_a_dead_writers_packs_go_once_its_lease_is_revoked(store: Store) -> None:
    """A collection spares them before, deletes them after, and the dead writer can commit nothing any more."""
    life = furnished(store, backups=1)
    before = list_packs(store)
    with life.repository.write_backup(database="shop", cluster="1") as writer:
        with writer.ingest.file("base/9", mode=0o600) as file:
            file.write(bytes(range(256)) * 1000)
        taken = writer.ingest.finish()
        assert collected(life.repository).deleted_packs == 0
        (lease,) = open_leases(store, life.repository.keyring)

        revoke(store, life.repository.keyring, lease.id, by="a test", clock=life.repository.clock)

        assert collected(life.repository).deleted_packs > 0
        assert list_packs(store) == before
        with pytest.raises(errors.SafepointError, match=r"BK001|RP004"):
            writer.commit(with_files(sample_manifest("b1"), taken))
    must_be_sound(life.repository, life.history)
    must_end_tidy(life.repository)
