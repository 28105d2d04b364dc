"""What a copy says of its cost: before, after, and when it ends early."""

from __future__ import annotations

import pytest

from repository_samples import CHEAP, CLUSTER, MARK, PASSPHRASE, SEGMENT, make_repository, wal_bytes
from rewriting import must_hold, opened_again, write_history
from safepoint import errors
from safepoint.model.secret import Secret
from safepoint.repository import Repository, create_repository
from safepoint.repository.care.copy import copy, plan_copy
from safepoint.repository.opening import open_keys
from safepoint.stores.faults import Fault, FaultyStore
from safepoint.stores.memory import MemoryStore
from safepoint.stores.metering import Meter, MeteredStore
from safepoint.stores.port import Store

KINDS = ["sibling", "stranger"]
METADATA = 32 * 1024
"""More than leases, indexes, the journal and the seals of some objects take."""


@pytest.fixture
def source() -> Repository:
    """Three backups, WAL and a record that is larger than most."""
    repository = make_repository(MemoryStore())
    write_history(repository, pages=40)
    repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=MARK)
    repository.append_record("drill", {"database": "shop", "log": "x" * 100_000})
    return repository


def new_target(source: Repository, kind: str, store: Store) -> Repository:
    """An empty repository, of the family or not."""
    opened = open_keys(source.store, PASSPHRASE) if kind == "sibling" else None
    return create_repository(store, Secret("the target's own"), cost=CHEAP, sibling_of=opened)


@pytest.mark.parametrize("kind", KINDS)
def test_sent_is_what_was_put_and_no_more_than_planned(source: Repository, kind: str) -> None:
    """Each byte that went into the target's store is counted, and the plan told of as many before."""
    meter = Meter()
    target = new_target(source, kind, MemoryStore())
    plan = plan_copy(source, target)

    done = copy(source, opened_again(target, MeteredStore(target.store, meter)))

    assert done.sent_bytes == meter.usage().bytes_put
    assert done.sent_bytes <= plan.sent_bytes + METADATA
    assert done.read_bytes > 0
    assert (done.backups, done.objects) == (plan.backups, plan.objects + len(plan.backups))


def test_the_plan_for_a_sibling_is_close(source: Repository) -> None:
    """Objects go as they are: what was planned is what went, but for what says where it is."""
    target = new_target(source, "sibling", MemoryStore())
    plan = plan_copy(source, target)

    done = copy(source, target)

    assert plan.packs == done.packs
    assert plan.sent_bytes - METADATA <= done.sent_bytes <= plan.sent_bytes + METADATA


@pytest.mark.parametrize("kind", KINDS)
def test_wal_is_planned_as_large_as_it_is_stored(kind: str) -> None:
    """A segment of zeros takes next to nothing, whatever its name says."""
    source = make_repository(MemoryStore())
    source.put_wal_segment(CLUSTER, SEGMENT, bytes(SEGMENT.size), history=b"", mark=MARK)

    plan = plan_copy(source, new_target(source, kind, MemoryStore()))

    assert plan.sent_bytes < METADATA


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_told_with_what_arrived_and_the_next_run_goes_on(source: Repository, kind: str) -> None:
    """Wherever the room ends: nobody says that nothing was stored, and nothing that arrived is sent again."""
    history = write_history(make_repository(MemoryStore()), pages=40)
    whole = copy(source, new_target(source, kind, MemoryStore()))
    puts = [number for number, call in enumerate(_calls(source, kind), 1) if call.startswith("put ")]

    told: list[str] = []
    for at in puts[1:-1:3]:
        target = new_target(source, kind, MemoryStore())
        full = opened_again(target, FaultyStore(target.store, Fault.FULL, at=at))
        changed = _changed_by_failing(source, full)
        told.append(changed)
        assert "nothing was stored" not in changed
        again = copy(opened_again(source), opened_again(target))
        assert again.is_whole
        assert again.sent_bytes < whole.sent_bytes
        must_hold(target, history)
    failed = [changed for changed in told if changed]
    assert len(failed) > len(told) / 3
    assert all("arrived and stay" in changed for changed in failed)


def _changed_by_failing(source: Repository, target: Repository) -> str:
    """What the error says; nothing when the copy could do without: the journal's entries are not needed."""
    try:
        copy(source, target)
    except errors.Unreachable as error:
        return error.changed
    return ""


def _calls(source: Repository, kind: str) -> list[str]:
    """What a copy asks of an empty target."""
    target = new_target(source, kind, MemoryStore())
    counted = FaultyStore(target.store)
    copy(source, opened_again(target, counted))
    return counted.calls
