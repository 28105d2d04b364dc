"""A life with collections, killed at every call to the store: what exists is whole, and others carry on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from collecting import KEYRING, NOON, Site
from safepoint import errors
from safepoint.repository import parallel
from safepoint.repository.commit.backups import existing_backups, expire
from safepoint.stores import FolderStore, MemoryStore, Store
from safepoint.stores.faults import Fault, FaultyStore, Killed


@pytest.fixture
def site(store: Store) -> Site:
    """An empty one over each store."""
    return Site(store)


def _play(site: Site) -> None:
    """A life: a backup, another that shares with it, a writer at work across a collection, an expiry, a collection."""
    first = site.begin()
    shared, own = site.put_pack(first), site.put_pack(first)
    name = site.commit(first, shared, own)
    site.put_pack()
    second = site.begin()
    site.collect()
    expire(site.store, KEYRING, name, "old", lambda: site.now)
    site.commit(second, shared, site.put_pack(second))
    site.collect()
    third = site.begin()
    site.put_pack(third)
    third.abandon()
    site.collect()


def _check_survivors(store: Store) -> None:
    """What exists is whole; then collections end with nothing but that, and a writer works."""
    after = Site(store)
    after.now = NOON + timedelta(days=2)
    found = existing_backups(store, KEYRING)
    assert found.is_complete
    assert after.mark(found.existing) <= after.packs()
    after.collect()
    done = after.collect()
    assert (after.packs(), done.waiting) == (after.mark(found.existing), ())
    left = existing_backups(store, KEYRING)
    assert set(store.list("backups/")) == {*(backup.manifest for backup in found.existing), *left.void}
    assert (left.spent, left.undecided) == ((), ())
    lease = after.begin()
    after.commit(lease, bytes(32))
    assert len(existing_backups(store, KEYRING).existing) == len(found.existing) + 1


@pytest.mark.parametrize("fault", [Fault.KILL, Fault.KILL_AFTER, Fault.POWER_CUT, Fault.FAIL, Fault.LOST_ANSWER])
def test_killed_at_any_call_nothing_is_lost(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every store call of a scripted life: no incomplete backup is listed, and others carry on."""
    _sweep(MemoryStore, fault, monkeypatch)


def test_killed_at_any_call_in_a_folder_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same over files."""
    folders = iter(range(10_000))
    _sweep(lambda: FolderStore(tmp_path / str(next(folders))), Fault.KILL_AFTER, monkeypatch, every=7)


def _sweep(make: Callable[[], Store], fault: Fault, monkeypatch: pytest.MonkeyPatch, every: int = 1) -> None:
    monkeypatch.setattr(parallel, "THREADS", 1)
    whole = FaultyStore(make())
    _play(Site(whole))
    assert len(whole.calls) > 80

    for at in range(1, len(whole.calls) + 1, every):
        inner = make()
        with contextlib.suppress(Killed, errors.Unreachable):
            _play(Site(FaultyStore(inner, fault, at=at)))
        _check_survivors(inner)
