"""Copies: every copied backup reads back in the target without the source, whatever happened on the way."""

from __future__ import annotations

import pytest

from repository_samples import (
    CHEAP,
    CLUSTER,
    DATABASE,
    MARK,
    MEBIBYTE,
    PASSPHRASE,
    TIMELINE,
    assert_proven,
    back_up,
    sample_manifest,
    take_files,
    wal_bytes,
    with_files,
)
from rewriting import (
    History,
    OneProcess,
    changed_files,
    collect_garbage,
    killed_everywhere,
    make_repository,
    must_hold,
    opened_again,
    write_history,
)
from safepoint import errors
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.model.secret import Secret
from safepoint.repository import Repository, create_repository
from safepoint.repository.care.copy import Copied, copy, plan_copy
from safepoint.repository.care.progress import Progress
from safepoint.repository.care.rewrite import plan_repack, repack, reseal
from safepoint.repository.commit.leases import list_packs, open_leases, revoke
from safepoint.repository.commit.tombstones import put_set
from safepoint.repository.names import pack_name
from safepoint.repository.opening import open_keys, open_repository
from safepoint.repository.sealing.key_changes import rotate
from safepoint.stores.faults import Killed
from safepoint.stores.memory import MemoryStore
from safepoint.stores.port import Data, Store

SEGMENT = WalSegment(TIMELINE, 40, MEBIBYTE)
HISTORY = b"1\t0/3000000\tno recovery target specified\n"
OTHER = Secret("the target's own passphrase")
KINDS = ["sibling", "stranger"]


@pytest.fixture
def source() -> Repository:
    """A repository of three backups, WAL, a history and a record."""
    repository = make_repository(MemoryStore())
    write_history(repository, pages=14)
    repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=MARK)
    repository.put_wal_range(CLUSTER, TIMELINE, SEGMENT.end, wal_bytes(size=8192), history=b"", mark=None)
    repository.put_history(CLUSTER, TimelineId(2), HISTORY)
    repository.append_record("drill", {"database": "shop", "seconds": 1.5})
    return repository


@pytest.fixture
def history() -> History:
    """What the source's backups hold."""
    return write_history(make_repository(MemoryStore()), pages=14)


def new_target(source: Repository, kind: str, store: Store | None = None) -> Repository:
    """An empty repository, of the family or not."""
    opened = open_keys(source.store, PASSPHRASE) if kind == "sibling" else None
    return create_repository(store or MemoryStore(), OTHER, cost=CHEAP, sibling_of=opened)


def must_be_whole(target: Repository, history: History) -> None:
    """Backups, WAL, histories and records, after a collection too."""
    must_hold(target, history)
    collect_garbage(opened_again(target), force=True)
    must_hold(target, history)
    assert [len(target.read_wal(piece)) for piece in target.wal_pieces(CLUSTER)] == [MEBIBYTE, 8192]
    assert target.read_mark(target.wal_pieces(CLUSTER)[0]) == MARK
    assert target.read_history(CLUSTER, TimelineId(2)) == HISTORY
    assert [record["seconds"] for record in target.records("drill")] == [1.5]


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_copied_and_nothing_twice(source: Repository, history: History, kind: str) -> None:
    """Backups, WAL, histories, records; the second run finds nothing to do; the plan told what the first did."""
    target = new_target(source, kind)
    plan = plan_copy(source, target)

    done = copy(source, target)

    assert plan.backups == done.backups == ("b0", "b1", "b2")
    assert done.is_whole
    assert done.read_bytes <= plan.read_bytes * 1.1
    assert copy(opened_again(source), opened_again(target)) == Copied()
    assert open_leases(target.store, target.keyring) == ()
    must_be_whole(target, history)
    assert_proven(target)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_killed_at_any_call_is_ended_by_the_next(source: Repository, history: History, kind: str) -> None:
    """Whatever was copied is whole, although a collection came between."""
    target = new_target(source, kind)

    def check(left: Store, _: int) -> None:
        again = opened_again(target, left)
        collect_garbage(again, force=True)
        held = {manifest.id: history[manifest.id] for manifest in opened_again(again).backups()}
        must_hold(again, held)
        assert copy(source, opened_again(again)).is_whole
        must_be_whole(again, history)

    assert killed_everywhere(target.store, lambda store: copy(source, opened_again(target, store)), check) > 40


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_committed_is_not_copied(source: Repository, history: History, kind: str) -> None:
    """A backup that is being made, and one whose end has come otherwise."""
    target = new_target(source, kind)
    with source.write_backup(database=DATABASE, cluster=CLUSTER) as writer:
        take_files(writer.ingest, {"f": b"unfinished"})
        manifest = with_files(sample_manifest("b9"), writer.ingest.finish())
        assert copy(source, target).backups == ("b0", "b1", "b2")
        must_be_whole(target, history)
        writer.commit(manifest)

    assert copy(source, target).backups == ("b9",)
    must_be_whole(target, history | {"b9": {"f": b"unfinished"}})


@pytest.mark.parametrize("kind", KINDS)
def test_later_backups_bring_only_what_is_new(source: Repository, history: History, kind: str) -> None:
    """In bytes that are sent; a stranger reads only the files that changed."""
    target = new_target(source, kind)
    copy(source, target)
    files = changed_files(history["b2"], 77, pages=1)
    made = back_up(source, files, "b3", parent=source.backup("b2"))

    done = copy(source, target)

    assert done.backups == ("b3",)
    assert done.sent_bytes < made.added_bytes + 3000
    must_be_whole(target, history | {"b3": files})


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_lease_that_is_revoked_is_told_and_the_next_run_copies(
    source: Repository, history: History, kind: str
) -> None:
    """RP013, and nothing of that backup is in the target."""
    guarded = RevokingStore(MemoryStore())
    target = new_target(source, kind, guarded)
    guarded.repository = target

    with pytest.raises(errors.Refused, match="RP013"):
        copy(source, target)

    assert target.backups() == ()
    guarded.repository = None
    collect_garbage(opened_again(target))
    assert copy(source, target).backups == ("b0", "b1", "b2")
    must_be_whole(target, history)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_source_is_told_and_the_rest_is_copied(source: Repository, history: History, kind: str) -> None:
    """The backup whose pages are lost is named with the damage, as are a damaged record and piece of WAL."""
    store = source.store
    last = source.backups()[2]
    others = [each for each in source.backup_state().existing if source.read_manifest(each.manifest) != last]
    own = list_packs(store) - source.needed_packs(others)
    names = [*map(pack_name, own), *store.list("records/"), *store.list("tmp/wal/")]
    for name in names:
        data = bytearray(store.get(name))
        data[60::50] = bytes(byte ^ 0xFF for byte in data[60::50])
        store.delete(name)
        store.put_if_absent(name, bytes(data))
    broken = opened_again(source)
    target = new_target(source, kind)

    done = copy(broken, target)

    assert not done.is_whole
    assert done.backups == ("b0", "b1")
    assert any(last.id in finding.text for finding in done.findings)
    assert len(done.findings) == 3
    must_hold(target, {key: history[key] for key in done.backups})


def test_a_backup_that_the_target_expired_stays_expired(source: Repository, history: History) -> None:
    """It is named as kept out; its name never comes back."""
    target = new_target(source, "sibling")
    copy(source, target)
    target.expire_backup("b0", reason="a test")

    assert plan_copy(source, target).kept_out == ("b0",)
    assert copy(source, target).backups == ()
    must_hold(target, {key: history[key] for key in ("b1", "b2")})


def test_packs_that_the_target_has_given_up_go_under_new_names(source: Repository, history: History) -> None:
    """A name that a verdict has killed is never used again: its blobs are found in other packs."""
    target = new_target(source, "sibling")
    copy(source, target, backups=["b2"])
    target.expire_backup("b2", reason="a test")
    assert collect_garbage(target).deleted_packs > 0

    assert copy(source, target).backups == ("b0", "b1")

    must_be_whole(target, {key: history[key] for key in ("b0", "b1")})


def test_rewritten_packs_are_copied(source: Repository, history: History) -> None:
    """The source was rotated and resealed, and what its backups name is gone there: the target finds it."""
    target = new_target(source, "sibling")
    copy(source, target, backups=["b0"])
    opened = open_keys(source.store, PASSPHRASE)
    rotate(source.store, opened, slots=[str(opened.slot)], clock=source.clock)
    newer = open_repository(source.store, PASSPHRASE)
    reseal(newer)
    collect_garbage(newer)

    done = copy(newer, target)

    again = open_repository(target.store, OTHER)
    assert done.is_whole
    assert again.keyring.masters == newer.keyring.masters
    must_be_whole(again, history)


def test_the_target_keeps_what_a_repack_of_the_source_left_behind(source: Repository, history: History) -> None:
    """The target still has a backup whose blobs the source's new packs lack."""
    target = new_target(source, "sibling")
    copy(source, target)
    source.expire_backup("b0", reason="a test")
    source.expire_backup("b1", reason="a test")
    files = changed_files(history["b2"], 5)
    repack(source, plan_repack(source, least_share=1.0))
    back_up(source, files, "b3", parent=source.backup("b2"))
    collect_garbage(source)

    copy(source, target)

    must_be_whole(target, history | {"b3": files})


@pytest.mark.parametrize("kind", KINDS)
def test_wal_of_no_backup_is_not_copied(source: Repository, kind: str) -> None:
    """Pieces that end before the first backup begins."""
    old = WalSegment(TIMELINE, 3, MEBIBYTE)
    source.put_wal_segment(CLUSTER, old, wal_bytes(3), history=b"", mark=None)
    target = new_target(source, kind)

    copy(source, target)

    assert min(piece.start for piece in target.wal_pieces(CLUSTER)) == SEGMENT.start > Lsn(0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_range_gives_way_to_its_segment(source: Repository, kind: str) -> None:
    """When the source has the whole segment by now, the target keeps that alone."""
    target = new_target(source, kind)
    copy(source, target)
    (partial,) = (piece for piece in source.wal_pieces(CLUSTER) if piece.is_partial)
    source.put_wal_segment(CLUSTER, SEGMENT.next, wal_bytes(8), history=b"", mark=None)
    source.delete_wal_range(partial)

    copy(source, target)

    assert not any(piece.is_partial for piece in target.wal_pieces(CLUSTER))


def test_progress_is_told(source: Repository) -> None:
    """Objects first, then backups, each up to its total."""
    told: list[Progress] = []

    copy(source, new_target(source, "sibling"), report=told.append)

    assert [progress.unit for progress in told] == ["objects"] * 4 + ["backups"] * 3
    assert told[-1] == Progress(done=3, total=3, unit="backups")


class RevokingStore(MemoryStore):
    """Revokes every lease as soon as a manifest is put under it."""

    def __init__(self, _inner: MemoryStore) -> None:
        super().__init__()
        self.repository: Repository | None = None

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        repository, put = self.repository, super().put_if_absent
        if repository is not None and name.startswith("backups/"):
            for lease in open_leases(repository.store, repository.keyring):
                revoke(repository.store, repository.keyring, lease.id, by="a test", clock=repository.clock)
        return put(name, data, durable=durable)


def test_a_condemned_name_is_not_put_again(source: Repository, history: History) -> None:
    """A set that is still undecided may kill it: its blobs go under another name."""
    target = new_target(source, "sibling")
    put_set(target.store, target.keyring, list_packs(source.store))

    copy(source, target)

    assert list_packs(target.store).isdisjoint(list_packs(source.store))
    must_hold(target, history)


def test_packs_of_a_copy_that_was_killed_are_durable_before_they_are_relied_upon(
    source: Repository, history: History
) -> None:
    """The first run dies before its barrier; what the second one finds survives a power cut all the same."""
    disk, unsynced = MemoryStore(), set[str]()
    target = new_target(source, "sibling", disk)
    dying = opened_again(target, OneProcess(disk, unsynced, dies_at_barrier=True))
    with pytest.raises(Killed):
        copy(source, dying)
    assert any(name.startswith("packs/") for name in unsynced)

    copy(source, opened_again(target, OneProcess(disk, unsynced)))

    for name in unsynced:
        disk.delete(name)
    must_hold(opened_again(target), history)
