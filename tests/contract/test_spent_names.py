"""A name that has expired stays spent, and a name that has not is nobody's to take away, whoever works beside."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from caring import OTHER
from repair_samples import Scene, copy_of_scene, damage, make_scene
from repository_samples import CHEAP, PASSPHRASE, back_up
from rewriting import copy_of, large_files, make_repository, opened_again
from safepoint.repository import Repository, create_repository, open_repository
from safepoint.repository.care.check import check
from safepoint.repository.care.collect import collect
from safepoint.repository.care.copy import copy
from safepoint.repository.care.repair import plan_repair, repair
from safepoint.repository.care.repair_values import Repaired
from safepoint.repository.commit.backups import is_spent
from safepoint.repository.commit.leases import open_leases, revoke
from safepoint.repository.names import end_name, lease_named_by
from safepoint.repository.opening import open_keys
from safepoint.stores.faults import FaultyStore
from safepoint.stores.memory import MemoryStore
from safepoint.stores.port import Store


class BesideStore(FaultyStore):
    """Calls another process before the call of this number."""

    def __init__(self, inner: Store, *, at: int, beside: Callable[[], object]) -> None:
        super().__init__(inner)
        self._call, self._beside = at, [beside]

    def _before(self, call: str) -> bool:
        if len(self.calls) + 1 == self._call and self._beside:  # once: several threads may be at the same call
            self._beside.pop()()
        return super()._before(call)


@pytest.fixture(scope="module")
def made() -> Scene:
    """Two backups, a sibling and a stranger with copies."""
    return make_scene()


@pytest.fixture
def scene(made: Scene) -> Scene:
    """Its own stores."""
    return copy_of_scene(made)


def first_of(repository: Repository) -> str:
    """The name of the manifest of b0."""
    names = [backup.manifest for backup in repository.backup_state().existing]
    return next(name for name in names if repository.read_manifest(name).id == "b0")


def lose_end(scene: Scene) -> str:
    """Neither an end nor the journal speaks of b0; its name."""
    name = first_of(scene.repository)
    scene.store.delete(end_name(str(lease_named_by(name))))
    for entry in list(scene.store.list("journal/")):
        scene.store.delete(entry)
    return name


def unlock(repository: Repository) -> None:
    """Every open lease is revoked."""
    for lease in open_leases(repository.store, repository.keyring):
        revoke(repository.store, repository.keyring, lease.id, by="unlock", clock=repository.clock)


def beside(repository: Repository, at: int, other: Callable[[], object]) -> Repository:
    """The repository, and another process at that call."""
    return opened_again(repository, BesideStore(repository.store, at=at, beside=other))


def exists(repository: Repository, name: str) -> bool:
    """Whether the backup exists, by a fresh look."""
    return name in {backup.manifest for backup in opened_again(repository).backup_state().existing}


def test_no_collection_takes_what_is_committed_again_beside_it(scene: Scene) -> None:
    """Its own lease was revoked, so that the collection found its manifest to be no backup: at every third call."""
    name = lose_end(scene)
    unlock(scene.repository)
    counted = FaultyStore(copy_of(scene.store))
    collect(opened_again(scene.repository, counted))
    acknowledged = 0

    for at in range(1, len(counted.calls) + 1, 3):
        here, said = opened_again(scene.repository, copy_of(scene.store)), list[Repaired]()

        def other(here: Repository = here, said: list[Repaired] = said) -> None:
            said.append(repair(opened_again(here), copies=[opened_again(scene.sibling)]))

        collect(beside(here, at, other))

        assert exists(here, name) or said[0].unrepaired, f"{at}: {counted.calls[at - 1]}"
        acknowledged += exists(here, name)

    assert acknowledged > 0


@pytest.mark.parametrize("harm", ["end damaged", "end lost", "manifest lost"])
def test_what_expires_during_its_repair_stays_expired(scene: Scene, harm: str) -> None:
    """At every fifth call; and a check raises no alarm."""
    name = first_of(scene.repository)
    end = end_name(str(lease_named_by(name)))
    if harm == "end damaged":
        damage(scene.store, end)
    else:
        scene.store.delete(end if harm == "end lost" else name)
    counted = FaultyStore(copy_of(scene.store))
    repair(opened_again(scene.repository, counted), copies=[opened_again(scene.sibling)])
    assert any(call.startswith("put") for call in counted.calls)

    for at in range(1, len(counted.calls) + 1, 5):
        here = opened_again(scene.repository, copy_of(scene.store))
        other = opened_again(here)
        done = repair(
            beside(here, at, lambda other=other: other.expire_backup(name, reason="by law")),
            copies=[opened_again(scene.sibling)],
        )

        assert (exists(here, name), done.unrepaired) == (False, ()), f"{at}: {counted.calls[at - 1]}"
        assert check(opened_again(here)).is_whole


def test_a_backup_that_two_copies_bring_is_expired_once() -> None:
    """Another copy brings it, and a person expires it, at every call of a copy that was planned before."""
    source = make_repository(MemoryStore())
    back_up(source, large_files(1, 2), "b0")
    target = create_repository(MemoryStore(), OTHER, cost=CHEAP, sibling_of=open_keys(source.store, PASSPHRASE))
    counted = FaultyStore(copy_of(target.store))
    copy(opened_again(source), opened_again(target, counted))

    for at in range(1, len(counted.calls) + 1):
        here = opened_again(target, copy_of(target.store))

        def other(here: Repository = here) -> None:
            copy(opened_again(source), opened_again(here))
            opened_again(here).expire_backup("b0", reason="by law")

        copy(opened_again(source), beside(here, at, other))

        assert (opened_again(here).backups(), check(opened_again(here)).is_whole) == ((), True), f"{at}"


def test_two_copies_at_once_make_one_backup() -> None:
    """Listed once, expired once."""
    source = make_repository(MemoryStore())
    back_up(source, large_files(1, 2), "b0")
    target = create_repository(MemoryStore(), OTHER, cost=CHEAP, sibling_of=open_keys(source.store, PASSPHRASE))
    counted = FaultyStore(copy_of(target.store))
    copy(opened_again(source), opened_again(target, counted))
    end = max(at for at, call in enumerate(counted.calls, 1) if call.startswith("put leases/") and "/end" in call) - 1

    copy(opened_again(source), beside(target, end, lambda: copy(opened_again(source), opened_again(target))))
    assert [backup.id for backup in opened_again(target).backups()] == ["b0"]

    opened_again(target).expire_backup("b0", reason="by law")
    assert opened_again(target).backups() == ()


def test_an_end_that_was_repaired_is_known_again(scene: Scene) -> None:
    """The damaged one stays where it is, and stands in nobody's way: not in that of a check, nor of a copy to here."""
    name = first_of(scene.repository)
    end = end_name(str(lease_named_by(name)))
    damage(scene.store, end)

    done = repair(scene.repository, copies=[scene.sibling])

    assert done.unrepaired == ()
    assert exists(scene.repository, name)
    assert check(opened_again(scene.repository)).is_whole
    assert copy(scene.sibling, opened_again(scene.repository)).is_whole


def test_a_revoked_lease_is_no_expiry(scene: Scene) -> None:
    """Its packs were collected since the plan was made: the repair says why it failed, and the next one succeeds."""
    name = lose_end(scene)
    plan = plan_repair(scene.repository, copies=[scene.sibling])
    unlock(scene.repository)
    collect(opened_again(scene.repository))

    done = repair(scene.repository, plan)

    assert not exists(scene.repository, name)
    assert any(name in finding.objects for finding in done.unrepaired)
    again = repair(opened_again(scene.repository), copies=[opened_again(scene.sibling)])
    assert (exists(scene.repository, name), [f.text for f in again.unrepaired]) == (True, [])


def test_a_spent_name_is_kept_out_of_copies(scene: Scene) -> None:
    """Also when the target's leases know nothing else of it."""
    name = first_of(scene.repository)
    scene.repository.expire_backup("b0", reason="by law")

    copied = copy(scene.sibling, opened_again(scene.repository))

    assert (copied.backups, is_spent(scene.store, name), exists(scene.repository, name)) == ((), True, False)
    assert open_repository(scene.store, PASSPHRASE).backup_state().void == ()
