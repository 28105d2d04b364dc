"""Repair: whatever is damaged, backups read back as they were once a copy has helped, and what cannot be is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from repair_samples import (
    Scene,
    copy_of_scene,
    damage,
    data_packs,
    end_names,
    index_names,
    make_scene,
    manifests,
    must_be_proven,
    packs_of,
)
from repository_samples import CLUSTER, back_up
from rewriting import (
    OneProcess,
    collect_garbage,
    killed_everywhere,
    large_files,
    make_repository,
    must_hold,
    opened_again,
    write_history,
)
from safepoint import errors
from safepoint.model.secret import Secret
from safepoint.repository import Repository
from safepoint.repository.care.repair import Repaired, RepairKind, plan_repair, repair
from safepoint.repository.care.rewrite import OldPack, RewritePlan, reseal
from safepoint.repository.commit.leases import open_leases, revoke
from safepoint.repository.packs.pack import BlobKind
from safepoint.stores.faults import Killed
from safepoint.stores.memory import MemoryStore
from safepoint.stores.port import Store


@pytest.fixture(scope="module")
def made() -> Scene:
    """To be copied."""
    return make_scene()


@pytest.fixture
def scene(made: Scene) -> Scene:
    """A copy, for a test to damage."""
    return copy_of_scene(made)


def node_packs(repository: Repository) -> list[str]:
    """The packs in which listings and maps lie."""
    return packs_of(repository, BlobKind.NODE)


def wal_names(repository: Repository) -> list[str]:
    """All WAL."""
    return sorted(repository.store.list("wal/"))


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
