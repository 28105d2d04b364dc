"""What says that a backup expired is opened by a check: whoever plants one hides a backup."""

from __future__ import annotations

import pytest

from repository_samples import BACKUP, fill, make_repository
from rewriting import opened_again
from safepoint.repository import Repository
from safepoint.repository.care.check import check
from safepoint.repository.care.finding import FindingKind
from safepoint.repository.care.repair import plan_repair
from safepoint.repository.names import expired_name
from safepoint.stores.memory import MemoryStore


@pytest.fixture
def repository() -> Repository:
    """One backup."""
    repository = make_repository(MemoryStore())
    fill(repository)
    return repository


def test_a_planted_expiry_is_named(repository: Repository) -> None:
    """Without the key nobody seals one: the object is named as damaged, and no repair pretends to know what to do."""
    (backup,) = repository.backup_state().existing
    name = expired_name(backup.lease)
    repository.store.put_if_absent(name, b"not sealed by anybody")

    found = [finding for finding in check(opened_again(repository)).findings if name in finding.objects]
    plan = plan_repair(opened_again(repository), damaged={name})

    assert [(finding.kind, finding.is_damage) for finding in found] == [(FindingKind.DAMAGED_END, True)]
    assert name in {each for finding in plan.hopeless for each in finding.objects}


def test_an_expiry_by_who_has_the_key_is_no_finding(repository: Repository) -> None:
    """The ordinary way: nothing to say."""
    repository.expire_backup(BACKUP, reason="old")

    assert check(opened_again(repository)).is_whole
