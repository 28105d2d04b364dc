"""A repair beside another process that expires backups and collects: what is given up on purpose is no damage."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from repository_samples import make_repository
from rewriting import collect_garbage, copy_of, opened_again, write_history
from safepoint.repository import Repository
from safepoint.repository.care.check import check
from safepoint.repository.care.repair import plan_repair, repair
from safepoint.stores.faults import FaultyStore
from safepoint.stores.memory import MemoryStore
from safepoint.stores.port import Store


class BesideStore(FaultyStore):
    """The store under it; at the chosen call something else happens to it first."""

    def __init__(self, inner: Store, *, at: int, beside: Callable[[], None]) -> None:
        super().__init__(inner)
        self._chosen = at
        self._beside = [beside]

    def _before(self, call: str) -> bool:
        if len(self.calls) + 1 == self._chosen and self._beside:  # once: several threads may be at the same call
            self._beside.pop()()
        return super()._before(call)


@pytest.fixture(scope="module")
def repository() -> Repository:
    """Two backups that share packs."""
    repository = make_repository(MemoryStore())
    write_history(repository, 2, pages=34)
    return repository


def expire(repository: Repository, *, is_collected: bool) -> None:
    """Another process gives up the older backup."""
    other = opened_again(repository)
    other.expire_backup("b0", reason="old")
    if is_collected:
        collect_garbage(opened_again(repository))


@pytest.mark.parametrize("is_collected", [False, True])
def test_an_expiry_at_any_call_raises_no_alarm(repository: Repository, *, is_collected: bool) -> None:
    """Whatever the repair had read of the backup by then: nothing is left unrepaired, nothing comes back."""
    counted = FaultyStore(copy_of(repository.store))
    repair(opened_again(repository, counted))
    assert len(counted.calls) > 20

    for at in range(1, len(counted.calls) + 1):
        inner = opened_again(repository, copy_of(repository.store))
        store = BesideStore(inner.store, at=at, beside=lambda inner=inner: expire(inner, is_collected=is_collected))

        done = repair(opened_again(repository, store))

        assert done.unrepaired == (), f"{at}: {store.calls[at - 1]}"
        assert [manifest.id for manifest in opened_again(inner).backups()] == ["b1"]
        assert is_collected or check(opened_again(inner)).is_whole


def test_a_manifest_that_was_missing_and_is_expired_is_no_damage(repository: Repository) -> None:
    """Between the check that named it and the repair, a person gave the lost backup up."""
    inner = opened_again(repository, copy_of(repository.store))
    lost = next(
        backup.manifest for backup in inner.backup_state().existing if inner.read_manifest(backup.manifest).id == "b0"
    )
    inner.store.delete(lost)
    damaged = {name for finding in check(opened_again(inner)).findings if finding.is_damage for name in finding.objects}
    assert lost in damaged
    opened_again(inner).expire_backup(lost, reason="lost")

    assert plan_repair(opened_again(inner), damaged=damaged).hopeless == ()
