"""What a verification would cost is known before it reads anything."""

from __future__ import annotations

from datetime import timedelta

import pytest

from repository_samples import fill, make_repository
from rewriting import opened_again
from safepoint.repository import Repository
from safepoint.repository.care import stored_sizes
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.verify import plan_verify, verify
from safepoint.stores.faults import FaultyStore
from safepoint.stores.memory import MemoryStore


@pytest.fixture
def repository() -> Repository:
    """One object of each kind."""
    repository = make_repository(MemoryStore())
    fill(repository)
    return repository


def test_the_plan_names_what_is_then_read_and_its_bytes(repository: Repository) -> None:
    """Objects, packs and bytes are exact where sizes are asked of each object."""
    plan = plan_verify(repository, Selection.all())

    done = verify(repository, plan)

    assert done.verified == len(plan.names) == plan.objects == plan.unverified
    assert plan.packs == len(list(repository.store.list("packs/")))
    assert not plan.size.is_estimate
    # The header of a pack is read once more to see which key opens it.
    assert plan.size.bytes <= done.bytes <= plan.size.bytes + 4096


def test_the_plan_reads_no_object(repository: Repository) -> None:
    """Listings, sizes and records of earlier runs: nothing of what is to be verified."""
    verify(repository, Selection.all())
    store = FaultyStore(repository.store)

    plan = plan_verify(opened_again(repository, store), Selection.due())

    assert plan.unverified == 2, "the record of that run, and its entry in the journal"
    read = [call for call in store.calls if call.startswith("get") and "records/object-verification/" not in call]
    assert read == []


def test_of_many_objects_the_size_is_an_estimate(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample is asked, and the plan says so."""
    monkeypatch.setattr(stored_sizes, "SAMPLE", 2)
    store = FaultyStore(repository.store)

    plan = plan_verify(opened_again(repository, store), Selection.all())

    assert plan.size.is_estimate
    assert plan.size.bytes > 0
    assert sum(call.startswith("size ") for call in store.calls) <= 4


@pytest.mark.parametrize(("share", "days"), [(1 / 14, 14), (0.5, 2), (1.0, 1)])
def test_the_rolling_selection_says_within_what_time_it_comes_round(share: float, days: int) -> None:
    """Run every day, everything is read again within that time; no other selection promises that."""
    assert Selection.due(share).round == timedelta(days=days)
    assert Selection.all().round is None
    assert Selection.since(timedelta(days=1)).round is None
