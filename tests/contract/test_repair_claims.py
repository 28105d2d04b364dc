"""Repair of backups that the journal alone tells of, and of what nobody has: brought back, or named."""

from __future__ import annotations

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
)
from rewriting import (
    opened_again,
)
from safepoint.repository.care.check import check
from safepoint.repository.care.repair import Repaired, RepairKind, plan_repair, repair
from safepoint.repository.commit.leases import list_packs
from safepoint.repository.packs.index import EVERY_CLUSTER, current_indexes, read_index


@pytest.fixture(scope="module")
def made() -> Scene:
    """To be copied."""
    return make_scene()


@pytest.fixture
def scene(made: Scene) -> Scene:
    """A copy, for a test to damage."""
    return copy_of_scene(made)


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
