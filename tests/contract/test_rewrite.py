"""Rewriting packs: every backup reads back at every moment, and what was rewritten is garbage and nothing else is."""

from __future__ import annotations

import pytest

from repository_samples import CHEAP, CLUSTER, DATABASE, PASSPHRASE, back_up, sample_manifest, with_files
from rewriting import (
    History,
    changed_files,
    collect_garbage,
    killed_everywhere,
    large_files,
    make_repository,
    must_hold,
    opened_again,
    write_history,
)
from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository import Repository, create_repository
from safepoint.repository.care.copy import copy
from safepoint.repository.care.moving import moving
from safepoint.repository.care.rewrite import Rewritten, plan_repack, plan_reseal, repack, reseal
from safepoint.repository.commit.leases import list_packs, open_leases, revoke
from safepoint.repository.maps.references import References
from safepoint.repository.names import pack_name
from safepoint.repository.opening import open_keys, open_repository
from safepoint.repository.packs.index import read_index
from safepoint.repository.packs.pack import BlobKind
from safepoint.repository.packs.replacements import read_replacements
from safepoint.repository.sealing.key_changes import rotate
from safepoint.repository.sealing.seal import generation_of
from safepoint.stores.faults import Fault
from safepoint.stores.memory import MemoryStore
from safepoint.stores.port import Store


def rotated(repository: Repository) -> Repository:
    """The repository with a newer generation of keys."""
    opened = open_keys(repository.store, PASSPHRASE)
    assert opened.slot is not None
    rotate(repository.store, opened, slots=[opened.slot], clock=repository.clock)
    return open_repository(repository.store, PASSPHRASE)


@pytest.fixture
def written() -> tuple[Repository, History]:
    """A repository of three backups, the last key of which is newer than they are."""
    repository = make_repository(MemoryStore())
    history = write_history(repository, pages=40)
    return rotated(repository), history


@pytest.fixture
def wasteful() -> tuple[Repository, History]:
    """A repository whose only backup needs a part of a pack that an expired one filled."""
    repository = make_repository(MemoryStore())
    source = {f"base/5/{number}": large_files(number, 5)["base/5/1"] for number in range(10)}
    first = back_up(repository, source, "b0", age=2)
    kept = {path: source[path] for path in ("base/5/3", "base/5/4")}
    back_up(repository, kept, "b1", parent=first)
    repository.expire_backup("b0", reason="a test")
    collect_garbage(repository)
    return repository, {"b1": kept}


def needed_packs(repository: Repository) -> frozenset[bytes]:
    """Those of an instance that remembers nothing."""
    return opened_again(repository).needed_packs()


def test_after_a_reseal_only_the_newest_key_is_needed(written: tuple[Repository, History]) -> None:
    """All packs that backups need are of the newest generation; the old ones are garbage, and go."""
    repository, history = written
    old = list_packs(repository.store)

    done = reseal(repository)

    assert done.packs == len(old)
    assert done.kept == ()
    assert {generation_of(pack) for pack in needed_packs(repository)} == {repository.keyring.generation}
    must_hold(repository, history)
    assert collect_garbage(repository).deleted_packs == len(old)
    must_hold(repository, history)
    assert plan_reseal(repository).packs == ()


def test_a_reseal_killed_at_any_call_leaves_every_backup_and_the_next_one_ends_it(
    written: tuple[Repository, History],
) -> None:
    """Before every call to the store, and after collections of what is left."""
    repository, history = written

    def check(left: Store, _: int) -> None:
        again = opened_again(repository, left)
        must_hold(again, history)
        collect_garbage(again, force=True)
        must_hold(again, history)
        reseal(opened_again(again))
        collect_garbage(again)
        must_hold(again, history)
        assert {generation_of(pack) for pack in list_packs(left)} == {repository.keyring.generation}

    calls = killed_everywhere(repository.store, lambda store: reseal(opened_again(repository, store)), check)

    assert calls > 20


@pytest.mark.parametrize("fault", [Fault.KILL_AFTER, Fault.POWER_CUT])
def test_a_repack_killed_at_any_call_leaves_every_backup(wasteful: tuple[Repository, History], fault: Fault) -> None:
    """After every call to the store, and by a power cut that undoes what was not durable."""
    repository, history = wasteful

    def check(left: Store, _: int) -> None:
        again = opened_again(repository, left)
        must_hold(again, history)
        collect_garbage(again, force=True)
        must_hold(again, history)

    assert killed_everywhere(repository.store, lambda at: repack(opened_again(repository, at)), check, fault) > 20


def test_a_repack_frees_what_no_backup_needs(wasteful: tuple[Repository, History]) -> None:
    """Less is stored afterwards, and there is nothing to repack any more."""
    repository, history = wasteful
    plan = plan_repack(repository)
    assert plan.packs

    done = repack(repository, plan)
    freed = collect_garbage(repository).deleted_bytes

    assert done.packs == len(plan.packs)
    assert freed - done.written_bytes > 0.9 * (plan.read_bytes - plan.written_bytes)
    must_hold(repository, history)
    assert plan_repack(repository).packs == ()


def test_rewritten_packs_are_built_upon(written: tuple[Repository, History]) -> None:
    """The next backup takes its parent as it is, and stores what changed, although all old packs are gone."""
    repository, history = written
    reseal(repository)
    collect_garbage(repository)
    files = changed_files(history["b2"], 9, pages=2)

    made = back_up(repository, files, "b3", parent=repository.backup("b2"))

    assert made.added_bytes < 30_000
    must_hold(repository, history | {"b3": files})
    collect_garbage(repository)
    must_hold(repository, history | {"b3": files})


def test_packs_rewritten_twice_are_found(written: tuple[Repository, History]) -> None:
    """References name a pack that was replaced by one that was replaced by the one that is left."""
    repository, history = written
    reseal(repository)
    collect_garbage(repository)

    again = rotated(repository)
    reseal(again)
    collect_garbage(again)

    assert {generation_of(pack) for pack in list_packs(again.store)} == {again.keyring.generation}
    must_hold(again, history)


@pytest.mark.parametrize("is_collected_before", [True, False])
def test_a_writer_may_reuse_what_was_dead_when_its_pack_was_repacked(
    wasteful: tuple[Repository, History], is_collected_before: bool
) -> None:
    """A backup begun before the repack adopts a blob that the repack left behind: its old pack stays for that."""
    repository, history = wasteful
    files = history["b1"] | {"base/5/7": large_files(7, 5)["base/5/1"]}
    with repository.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        for path, content in files.items():
            with writer.ingest.file(path, mode=0o600) as file:
                file.write(content)
        manifest = with_files(sample_manifest("b2"), writer.ingest.finish())
        assert manifest.added_bytes < 10_000  # the files' pages were all found
        other = opened_again(repository)
        assert repack(other).packs == 1
        if is_collected_before:
            assert collect_garbage(other).deleted_packs == 0
        writer.commit(manifest)

    collect_garbage(repository)

    must_hold(repository, history | {"b2": files})


def test_a_copy_beside_a_repack_makes_the_chain_longer(written: tuple[Repository, History]) -> None:
    """While a pack is rewritten in a copy, a backup arrives there for which it stands: its new pack stands for that."""
    source, history = written
    reseal(source)
    collect_garbage(source)
    back_up(source, history["b0"], "b3")
    target = create_repository(
        MemoryStore(), PASSPHRASE, cost=CHEAP, sibling_of=open_keys(source.store, PASSPHRASE), clock=source.clock
    )
    copy(source, target, backups=["b3"])
    old = list_packs(target.store)
    with moving(target, purpose="repack") as move:
        for ref, kind in _references(target, "b3"):
            move.put(target.blobs.read_blob(ref), kind)
        move.replace(old)
        copy(source, opened_again(target), backups=["b0"])
        name = move.finish(CLUSTER)
    assert name is not None
    replaced = {bytes.fromhex(pack) for pack in read_index(target.store, target.keyring, name).replaces}
    target = opened_again(target)
    target.expire_backup("b3", reason="a test")

    collect_garbage(target)
    collect_garbage(target)

    assert replaced > old
    must_hold(opened_again(target), {"b0": history["b0"]})


def test_a_lost_new_pack_counts_for_nothing(wasteful: tuple[Repository, History]) -> None:
    """While the old one is still there, references lead to it again."""
    repository, history = wasteful
    repack(repository)
    moved = next(ref for ref, kind in _references(repository, "b1") if kind is BlobKind.DATA)
    (new,) = _places(repository, moved)
    repository.store.delete(pack_name(new))

    assert _places(repository, moved) == {moved.pack}
    must_hold(repository, history)


def test_a_reseal_that_was_revoked_replaces_nothing(written: tuple[Repository, History]) -> None:
    """RP013; whoever revoked it may delete the new packs, and every backup is still where it was."""
    repository, history = written
    plan = plan_reseal(repository)
    with moving(repository, purpose="reseal") as move:
        for ref, kind in _references(repository, "b2"):
            move.put(repository.blobs.read_blob(ref), kind)
        move.replace(pack.pack for pack in plan.packs)
        revoke(repository.store, repository.keyring, move.lease.id, by="a test", clock=repository.clock)
        with pytest.raises(errors.Refused, match="RP013"):
            move.finish(CLUSTER)

    assert collect_garbage(repository).deleted_packs > 0
    must_hold(repository, history)
    assert plan_reseal(repository).packs == plan.packs


def test_packs_of_writers_at_work_are_left_alone() -> None:
    """They are counted, and rewritten when the writer has ended."""
    repository = make_repository(MemoryStore())
    with repository.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        with writer.ingest.file("f", mode=0o600) as file:
            file.write(b"x" * 9)
        manifest = with_files(sample_manifest("b0"), writer.ingest.finish())
        other = rotated(repository)
        assert reseal(other) == Rewritten()
        writer.commit(manifest)

    assert reseal(other).packs == 2
    must_hold(other, {"b0": {"f": b"x" * 9}})


def test_what_does_not_open_stays_where_it_is(written: tuple[Repository, History]) -> None:
    """The other blobs of a damaged pack are resealed; it is named, and kept for what a repair may make of it."""
    repository, history = written
    broken = next(ref for ref, kind in _references(repository, "b0") if kind is BlobKind.DATA and ref.length > 1000)
    name = pack_name(broken.pack)
    data = bytearray(repository.store.get(name))
    data[broken.offset + 40] ^= 1
    repository.store.delete(name)
    repository.store.put_if_absent(name, bytes(data))

    done = reseal(repository)
    collect_garbage(repository)

    assert done.kept == (name,)
    assert list(repository.store.list(name)) == [name]
    data[broken.offset + 40] ^= 1
    repository.store.delete(name)
    repository.store.put_if_absent(name, bytes(data))
    must_hold(repository, history)


def test_a_reseal_leaves_no_lease_open(written: tuple[Repository, History]) -> None:
    """So that collections need not wait for it."""
    repository, _ = written

    reseal(repository)

    assert open_leases(repository.store, repository.keyring) == ()


def test_rewriting_is_refused_to_who_holds_an_old_key(written: tuple[Repository, History]) -> None:
    """RP008: it would seal for whoever the rotation shut out."""
    repository, _ = written
    plan = plan_reseal(repository)
    rotated(repository)

    with pytest.raises(errors.Misconfigured, match="RP008"):
        reseal(repository, plan)


def _references(repository: Repository, backup_id: str) -> list[tuple[BlobRef, BlobKind]]:
    manifest = repository.backup(backup_id)
    return list(References(repository.files(manifest).nodes).of(manifest.root))


def _places(repository: Repository, ref: BlobRef) -> frozenset[bytes]:
    packs = list_packs(repository.store)
    return read_replacements(repository.store, repository.keyring).places(ref, packs.__contains__)
