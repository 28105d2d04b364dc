"""Objects planted below `tombstones/` by who lacks the key: they stop no collection, and nothing dies of them."""

from __future__ import annotations

import dataclasses
import secrets
from pathlib import Path

import pytest

from kept import Kept, make_kept
from repository_samples import read_files, sample_files
from safepoint.repository.care.collect import collect, plan_collection
from safepoint.repository.commit.leases import begin_lease, list_packs
from safepoint.repository.commit.tombstones import (
    dead_packs,
    decide,
    list_tombstones,
    new_set_id,
    put_leases,
    put_set,
)
from safepoint.repository.names import leases_name, pack_name, packs_name, verdict_name


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """One backup, and a pack that nobody needs."""
    found = make_kept(tmp_path)
    found.back_up("one")
    found.store().put_if_absent(pack_name(bytes(22) + bytes(8) + b"\0\1"), b"garbage")
    return found


def plant(kept: Kept, how: str) -> tuple[str, ...]:
    """A set that names all packs there are, or looks as if it did; its objects."""
    repository, set_id = kept.opened(), secrets.token_hex(16)
    packs = list_packs(repository.store)
    if how == "rubbish":
        for name in (packs_name(set_id), verdict_name(set_id), leases_name(set_id)):
            repository.store.put_if_absent(name, b"rubbish")
    elif how == "sibling":
        sibling = dataclasses.replace(repository.keyring, repository=b"sibling's id....")
        set_id = put_set(repository.store, sibling, packs)
        put_leases(repository.store, sibling, set_id, [])
        decide(repository.store, sibling, set_id, packs)
    else:
        repository.store.put_if_absent(f"tombstones/{how}/packs", b"rubbish")
        return (f"tombstones/{how}/packs",)
    return leases_name(set_id), packs_name(set_id), verdict_name(set_id)


@pytest.mark.parametrize("how", ["rubbish", "sibling", "x", "A" * 32, "0" * 32])
def test_a_planted_set_stops_nothing(kept: Kept, how: str) -> None:
    """Named, passed over and left there; what nobody needs goes, the backup stays."""
    planted = plant(kept, how)
    repository = kept.opened()

    planned, done = plan_collection(repository), collect(repository)

    assert (planned.strangers, done.strangers) == (planted, planted)
    assert planned.deleted_packs == done.deleted_packs == 1
    assert set(planted) <= set(kept.objects("tombstones/"))
    assert read_files(kept.opened(), kept.opened().backup("one")) == sample_files(1)


@pytest.mark.parametrize("how", ["rubbish", "sibling"])
def test_a_planted_set_costs_writers_nothing(kept: Kept, how: str) -> None:
    """Packs stay usable, and no name counts as dead."""
    plant(kept, how)
    repository = kept.opened()

    lease = begin_lease(repository.store, repository.keyring, purpose="backup", database="shop", clock=repository.clock)

    assert all(lease.is_usable(pack) for pack in list_packs(repository.store))
    assert lease.unreadable == ()
    assert dead_packs(repository.store, repository.keyring) == frozenset()


def test_the_command_names_them(kept: Kept) -> None:
    """Exit 3, and all else is done."""
    (name,) = plant(kept, "0" * 32)

    said = kept.run("gc", ends=3)

    assert f"{name}, put by nobody who has the key" in said.out
    assert "deleted" in said.out


def test_a_set_of_ours_is_told_from_all_others(kept: Kept) -> None:
    """By the id alone, which a sibling's key does not prove here."""
    repository = kept.opened()
    sibling = dataclasses.replace(repository.keyring, repository=b"sibling's id....")
    mine, other = new_set_id(repository.keyring), new_set_id(sibling)
    for set_id in (mine, other):
        repository.store.put_if_absent(packs_name(set_id), b"damaged")

    found = list_tombstones(repository.store, repository.keyring)

    assert ([names.id for names in found.sets], found.strangers) == ([mine], (packs_name(other),))
