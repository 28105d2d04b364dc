"""Repair: whatever is damaged, backups read back as they were once a copy has helped, and what cannot be is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from repository_samples import CHEAP, CLUSTER, MARK, MEBIBYTE, PASSPHRASE, TIMELINE, back_up, wal_bytes
from rewriting import (
    History,
    OneProcess,
    collect_garbage,
    copy_of,
    killed_everywhere,
    large_files,
    make_repository,
    must_hold,
    opened_again,
    write_history,
)
from safepoint import errors
from safepoint.model.lsn import WalSegment
from safepoint.model.secret import Secret
from safepoint.repository import Repository, create_repository
from safepoint.repository.care.check import check
from safepoint.repository.care.copy import copy
from safepoint.repository.care.repair import Repaired, RepairKind, plan_repair, repair
from safepoint.repository.care.rewrite import OldPack, RewritePlan, reseal
from safepoint.repository.commit.lease_objects import end_name, lease_named_by
from safepoint.repository.commit.leases import list_packs, open_leases, revoke
from safepoint.repository.maps.references import References
from safepoint.repository.opening import open_keys
from safepoint.repository.packs.index import EVERY_CLUSTER, current_indexes, read_index
from safepoint.repository.packs.pack import BlobKind, pack_name
from safepoint.stores.faults import Killed
from safepoint.stores.memory import MemoryStore
from safepoint.stores.port import Store

SEGMENT = WalSegment(TIMELINE, 40, MEBIBYTE)
WAL = wal_bytes()


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A repository of two backups, a sibling and a stranger that hold copies of them."""

    repository: Repository
    sibling: Repository
    stranger: Repository
    history: History

    @property
    def store(self) -> MemoryStore:
        store = self.repository.store
        assert isinstance(store, MemoryStore)
        return store


@pytest.fixture(scope="module")
def _made() -> Scene:
    repository = make_repository(MemoryStore())
    history = write_history(repository, 2, pages=34)
    repository.put_wal_segment(CLUSTER, SEGMENT, WAL, history=b"", mark=MARK)
    opened = open_keys(repository.store, PASSPHRASE)
    sibling = create_repository(MemoryStore(), Secret("the sibling's own"), cost=CHEAP, sibling_of=opened)
    stranger = make_repository(MemoryStore(), Secret("the stranger's own"))
    copy(repository, sibling)
    copy(repository, stranger)
    return Scene(repository=repository, sibling=sibling, stranger=stranger, history=history)


@pytest.fixture
def scene(_made: Scene) -> Scene:
    """Fresh stores with the same objects."""

    def fresh(repository: Repository) -> Repository:
        return opened_again(repository, copy_of(repository.store))

    return Scene(
        repository=fresh(_made.repository),
        sibling=fresh(_made.sibling),
        stranger=fresh(_made.stranger),
        history=_made.history,
    )


def damage(store: MemoryStore, name: str, at: int | None = None) -> None:
    """One bit of the object is another, or one of every 100 bytes behind its header."""
    data = bytearray(store.get(name))
    for position in range(60, len(data), 100) if at is None else [at]:
        data[position] ^= 1
    store.delete(name)
    store.put_if_absent(name, bytes(data))


def must_be_proven(repository: Repository, history: History) -> None:
    """Backups and WAL read back, before and after a collection."""
    must_hold(repository, history)
    collect_garbage(opened_again(repository))
    must_hold(repository, history)
    (segment,) = repository.wal_pieces(CLUSTER)
    assert repository.read_wal(CLUSTER, segment) == WAL


def data_packs(repository: Repository) -> list[str]:
    """The packs in which file content lies, as backups name them."""
    return _packs(repository, BlobKind.DATA)


def node_packs(repository: Repository) -> list[str]:
    """The packs in which listings and maps lie."""
    return _packs(repository, BlobKind.NODE)


def _packs(repository: Repository, wanted: BlobKind) -> list[str]:
    references = References(repository.files(repository.backups()[0]).nodes)
    found = (ref for manifest in repository.backups() for ref, kind in references.of(manifest.root) if kind is wanted)
    return sorted({pack_name(ref.pack) for ref in found})


def manifests(repository: Repository) -> list[str]:
    """All manifests."""
    return sorted(repository.store.list("backups/"))


def wal_names(repository: Repository) -> list[str]:
    """All WAL."""
    return sorted(repository.store.list("wal/"))


def index_names(repository: Repository) -> list[str]:
    """All indexes."""
    return sorted(repository.store.list("indexes/"))


def end_names(repository: Repository) -> list[str]:
    """The ends of the leases that committed backups."""
    return [end_name(str(lease_named_by(name))) for name in manifests(repository)]


Objects = Callable[[Repository], list[str]]
EVERYTHING = [data_packs, node_packs, manifests, index_names, end_names]


def fresh_damage(scene: Scene, objects: Objects, *, is_gone: bool) -> list[str]:
    """These objects are damaged or deleted; their names."""
    names = objects(scene.repository)
    for name in names:
        if is_gone:
            scene.store.delete(name)
        else:
            damage(scene.store, name)
    return names


@pytest.mark.parametrize("is_gone", [False, True], ids=["damaged", "missing"])
@pytest.mark.parametrize("objects", EVERYTHING)
def test_a_sibling_makes_everything_whole(scene: Scene, objects: Objects, is_gone: bool) -> None:
    """All packs, manifests, indexes or ends of leases, damaged or missing."""
    names = fresh_damage(scene, objects, is_gone=is_gone)
    broken = opened_again(scene.repository)
    plan = plan_repair(broken, copies=[scene.sibling], damaged=names)

    done = repair(broken, copies=[scene.sibling], damaged=names)

    assert done.unrepaired == plan.hopeless == ()
    assert {action.kind for action in done.actions} == {action.kind for action in plan.actions}
    assert done.actions
    must_be_proven(broken, scene.history)
    again = plan_repair(opened_again(broken), copies=[scene.sibling])
    assert again.hopeless == ()
    assert again.actions == ()


def test_damaged_wal_is_exchanged(scene: Scene) -> None:
    """For the sibling's object of the same name."""
    (name,) = wal_names(scene.repository)
    damage(scene.store, name)

    done = repair(scene.repository, copies=[scene.sibling], damaged=[name])

    assert [action.kind for action in done.actions] == [RepairKind.EXCHANGE]
    must_be_proven(scene.repository, scene.history)


@pytest.mark.parametrize("objects", [data_packs, node_packs, manifests, wal_names, end_names, index_names])
def test_a_repair_killed_at_any_call_is_ended_by_the_next(scene: Scene, objects: Objects) -> None:
    """And does not make anything worse before."""
    names = fresh_damage(scene, objects, is_gone=False)

    def check(left: Store, at: int) -> None:
        again = opened_again(scene.repository, left)
        assert repair(again, copies=[scene.sibling], damaged=names).unrepaired == ()
        if at % 4 == 0:
            collect_garbage(opened_again(again), force=True)
        must_hold(again, scene.history)

    def work(store: Store) -> None:
        repair(opened_again(scene.repository, store), copies=[scene.sibling], damaged=names)

    assert killed_everywhere(scene.store, work, check) > 10
    repair(opened_again(scene.repository), copies=[scene.sibling], damaged=names)
    must_be_proven(scene.repository, scene.history)


def test_an_exchange_that_was_interrupted_needs_no_copy(scene: Scene) -> None:
    """What was put aside is put in its place, although nobody is there to fetch it from."""
    (name,) = wal_names(scene.repository)
    data = scene.store.get(name)
    scene.store.put_if_absent(f"tmp/repair/{name}", data)
    scene.store.delete(name)

    done = repair(scene.repository)

    assert [action.kind for action in done.actions] == [RepairKind.FINISH]
    assert list(scene.store.list("tmp/repair/")) == []
    must_be_proven(scene.repository, scene.history)


@pytest.mark.parametrize("is_gone", [False, True], ids=["damaged", "missing"])
def test_a_stranger_gives_the_pages_of_lost_data(scene: Scene, is_gone: bool) -> None:
    """Every data pack is lost; its blobs come back from the stranger's backups, under the same ids."""
    names = fresh_damage(scene, data_packs, is_gone=is_gone)
    broken = opened_again(scene.repository)

    done = repair(broken, copies=[scene.stranger], damaged=names)

    assert done.unrepaired == ()
    must_be_proven(broken, scene.history)


def test_a_strangers_other_pages_are_not_taken(scene: Scene) -> None:
    """A backup of the same id that holds something else: what is lost stays named, and nothing wrong is stored."""
    other = make_repository(MemoryStore(), Secret("other"))
    write_history(other, 1, pages=35)
    names = fresh_damage(scene, data_packs, is_gone=False)
    broken = opened_again(scene.repository)

    done = repair(broken, copies=[other], damaged=names)

    assert len(done.unrepaired) == len(names)
    assert done.blobs < 10  # small files are the same


def test_a_stranger_has_no_nodes(scene: Scene) -> None:
    """Listings and maps are ours alone: named as lost."""
    names = fresh_damage(scene, node_packs, is_gone=True)

    done = repair(opened_again(scene.repository), copies=[scene.stranger], damaged=names)

    assert len(done.unrepaired) == 2
    assert all(finding.affected for finding in done.unrepaired)


def test_what_nobody_has_is_named_and_the_rest_is_repaired(scene: Scene) -> None:
    """Without any copy: the manifest is named, the indexes are made anew."""
    (name, *_) = manifests(scene.repository)
    scene.store.delete(name)
    for index in index_names(scene.repository):
        scene.store.delete(index)

    done = repair(scene.repository)

    assert [finding.objects for finding in done.unrepaired] == [(name,)]
    assert [action.kind for action in done.actions] == [RepairKind.INDEX]
    store, keyring = scene.store, scene.repository.keyring
    found = [read_index(store, keyring, at) for at in current_indexes(store, keyring)]
    assert {index.cluster for index in found} == {EVERY_CLUSTER}
    assert {pack.pack for index in found for pack in index.packs} == list_packs(scene.store)


def test_good_blobs_of_a_damaged_pack_need_no_copy(scene: Scene) -> None:
    """What opens is moved; only what does not is named, and its pack is kept."""
    name = max(data_packs(scene.repository), key=scene.store.size)
    damage(scene.store, name, at=60)

    done = repair(scene.repository, damaged=[name])
    collect_garbage(opened_again(scene.repository))

    assert [finding.objects for finding in done.unrepaired] == [(name,)]
    assert done.blobs > 0
    damage(scene.store, name, at=60)
    must_hold(scene.repository, scene.history)


def test_a_lost_index_of_replaced_packs_is_made_good(scene: Scene) -> None:
    """The packs that backups name are gone, and what says by which they were replaced: led anew, nothing is copied."""
    reseal_all(scene.repository)
    collect_garbage(opened_again(scene.repository))
    for index in index_names(scene.repository):
        damage(scene.store, index)
    broken = opened_again(scene.repository)
    with pytest.raises(errors.SafepointError, match=r"RP0(04|05|11)"):
        broken.needed_packs()

    done = repair(broken)

    assert done.unrepaired == ()
    assert done.blobs == 0
    must_be_proven(broken, scene.history)


def test_a_sound_repository_needs_no_repair(scene: Scene) -> None:
    """Nothing is planned, done or written."""
    before = sorted(scene.store.list(""))

    assert plan_repair(scene.repository, copies=[scene.sibling, scene.stranger]).actions == ()
    assert repair(scene.repository, copies=[scene.sibling, scene.stranger]) == Repaired()
    assert sorted(scene.store.list("")) == before


def lose(scene: Scene, *, is_manifest_gone: bool) -> str:
    """The first backup's end, and its manifest if that is said, are gone without a word; the manifest's name."""
    name, end = manifests(scene.repository)[0], end_names(scene.repository)[0]
    scene.store.delete(end)
    if is_manifest_gone:
        scene.store.delete(name)
    return name


@pytest.mark.parametrize("is_manifest_gone", [False, True], ids=["end", "end and manifest"])
def test_a_backup_that_only_the_journal_knows_comes_from_a_sibling(scene: Scene, is_manifest_gone: bool) -> None:
    """No object here says that it exists: it is found by the journal's claim, and committed again."""
    name = lose(scene, is_manifest_gone=is_manifest_gone)

    done = repair(opened_again(scene.repository), copies=[scene.sibling])

    assert [(action.kind, action.objects) for action in done.actions] == [(RepairKind.COMMIT_AGAIN, (name,))]
    assert done.unrepaired == ()
    must_be_proven(scene.repository, scene.history)


def test_a_lost_end_needs_no_copy_when_the_journal_claims_the_manifest(scene: Scene) -> None:
    """The manifest has the very digest that a signed entry gives: committed again under a new lease."""
    name = lose(scene, is_manifest_gone=False)

    done = repair(opened_again(scene.repository))

    assert [(action.kind, action.objects) for action in done.actions] == [(RepairKind.COMMIT_AGAIN, (name,))]
    assert check(opened_again(scene.repository)).is_whole
    must_be_proven(scene.repository, scene.history)


@pytest.mark.parametrize("is_manifest_gone", [False, True], ids=["damaged", "missing"])
def test_a_claimed_backup_that_nobody_has_is_named(scene: Scene, is_manifest_gone: bool) -> None:
    """Its end is gone and its manifest is gone or another: planned as hopeless, and left unrepaired."""
    name = lose(scene, is_manifest_gone=is_manifest_gone)
    if not is_manifest_gone:
        damage(scene.store, name)
    broken = opened_again(scene.repository)

    plan, done = plan_repair(broken), repair(broken)

    assert [finding.objects for finding in done.unrepaired] == [(name,)]
    assert plan.hopeless == done.unrepaired
    assert done.actions == ()


def test_an_expired_backup_is_not_brought_back(scene: Scene) -> None:
    """The journal says that it expired, and the sibling's copy changes nothing."""
    scene.repository.expire_backup(scene.repository.backups()[0].id, reason="retention")

    done = repair(opened_again(scene.repository), copies=[scene.sibling])

    assert done == Repaired()


def test_whatever_was_named_and_cannot_be_mended_is_named(scene: Scene) -> None:
    """Also objects of which repair knows nothing."""
    done = repair(scene.repository, damaged=["keys/"])

    assert [finding.objects for finding in done.unrepaired] == [("keys/",)]


def test_a_lost_pack_without_a_copy_is_planned_as_hopeless(scene: Scene) -> None:
    """No index lists its blobs elsewhere and nobody was given to ask: the plan does not promise to refill it."""
    (name, *_) = data_packs(scene.repository)
    scene.store.delete(name)
    broken = opened_again(scene.repository)

    plan, done = plan_repair(broken), repair(broken)

    assert [finding.objects for finding in plan.hopeless] == [(name,)]
    assert done.unrepaired == plan.hopeless
    assert plan.actions == done.actions == ()


def reseal_all(repository: Repository) -> None:
    """Every pack is replaced."""
    packs = tuple(
        OldPack(pack=pack, cluster=CLUSTER, stored_bytes=1, needed_bytes=1) for pack in repository.needed_packs()
    )
    reseal(repository, RewritePlan(packs=packs))


def test_packs_are_durable_before_they_are_listed() -> None:
    """Their writer died before its barrier; another one builds upon what a repair listed, then the power fails."""
    disk, unsynced = MemoryStore(), set[str]()
    repository = make_repository(disk)
    files = large_files(5)
    with pytest.raises(Killed):
        back_up(opened_again(repository, OneProcess(disk, unsynced, dies_at_barrier=True)), files, "never")
    for lease in open_leases(disk, repository.keyring):
        revoke(disk, repository.keyring, lease.id, by="a test", clock=repository.clock)
    assert any(name.startswith("packs/") for name in unsynced)

    repair(opened_again(repository, OneProcess(disk, unsynced)))
    back_up(opened_again(repository, OneProcess(disk, unsynced)), files, "b0")

    for name in unsynced:
        disk.delete(name)
    must_hold(opened_again(repository), {"b0": files})
