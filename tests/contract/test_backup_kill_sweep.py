"""Killed at every call to the store, before it and after it took effect: backups are whole or do not exist."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from ingest_model import changed_pages, with_pages
from repository_samples import (
    CLUSTER,
    DATABASE,
    assert_proven,
    back_up,
    make_repository,
    read_files,
    sample_files,
    sample_manifest,
    take_files,
    with_files,
)
from safepoint.model.backup import BackupManifest
from safepoint.repository import Repository, open_repository
from safepoint.repository.commit.leases import list_packs
from safepoint.repository.maps.shape import GROUP_BYTES, PAGE_BYTES
from safepoint.repository.packs import writer as pack_writer
from safepoint.repository.packs.index import current_indexes, read_index
from safepoint.repository.packs.pack import BlobKind, check_pack
from safepoint.stores import FolderStore, MemoryStore, Store
from safepoint.stores.faults import Fault, FaultyStore, Killed

_DEADLY = (Fault.KILL, Fault.KILL_AFTER, Fault.POWER_CUT)
_RANDOM = random.Random(7)
_LARGE = _RANDOM.randbytes(3 * GROUP_BYTES)
_CHANGED = with_pages(_LARGE, {number: _RANDOM.randbytes(PAGE_BYTES) for number in (1, 2, 40, 90)})
_NEW = _RANDOM.randbytes(2 * GROUP_BYTES + 5)
_BEFORE = {**sample_files(1), "base/1": _LARGE, "base/2": _LARGE[:200_000]}
_AFTER = {**sample_files(2), "base/1": _CHANGED, "base/2": _BEFORE["base/2"], "base/3": _NEW}


@pytest.fixture(autouse=True)
def _small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that packs are put before the end."""
    monkeypatch.setitem(pack_writer.PACK_BYTES, BlobKind.DATA, 150_000)  # type: ignore[arg-type] - a dictionary


def _in_memory(objects: dict[str, bytes], folder: Path) -> Store:
    store = MemoryStore()
    for name, data in objects.items():
        store.put_if_absent(name, data)
    return store


def _in_folder(objects: dict[str, bytes], folder: Path) -> Store:
    for name, data in objects.items():
        place = folder / "store" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return FolderStore(folder / "store")


_PLACES: dict[str, Callable[[dict[str, bytes], Path], Store]] = {"memory": _in_memory, "folder": _in_folder}


@cache
def _prepared() -> dict[str, bytes]:
    """The objects of a repository with one backup."""
    store = MemoryStore()
    back_up(make_repository(store, None), _BEFORE, "first")
    return {name: store.get(name) for name in store.list("")}


def _back_up(repository: Repository, backup_id: str) -> BackupManifest:
    """On top of the first backup: one file whole, one by its pages, one taken over, small ones."""
    parent = repository.backup("first")
    with repository.write_backup(database=DATABASE, cluster=CLUSTER, parent=parent) as writer:
        ingest = writer.ingest
        ingest.unchanged("base/2")
        pages = changed_pages(_LARGE, _CHANGED)
        ingest.changed_pages("base/1", mode=0o600, size=len(_CHANGED), pages=pages)
        take_files(ingest, {path: _AFTER[path] for path in _AFTER if path not in {"base/1", "base/2"}})
        manifest = with_files(sample_manifest(backup_id), ingest.finish())
        writer.commit(manifest)
    return manifest


def _calls_of_a_backup() -> int:
    store = _in_memory(_prepared(), Path())
    repository = open_repository(counted := FaultyStore(store), None)
    counted.calls.clear()
    _back_up(repository, "second")
    return len(counted.calls)


_CALLS = range(1, _calls_of_a_backup() + 3)  # how many packs there are depends on threads


def _listed_blobs(repository: Repository) -> set[bytes]:
    """The blobs that an index says are stored."""
    store, keyring = repository.store, repository.keyring
    indexes = [read_index(store, keyring, name) for name in current_indexes(store, keyring)]
    return {ref.id for index in indexes for pack in index.packs for ref in pack.refs()}


@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.parametrize("fault", _DEADLY)
@pytest.mark.parametrize("place", list(_PLACES))
def test_killed_at_any_call_leaves_only_whole_backups(place: str, fault: Fault, call: int, tmp_path: Path) -> None:
    """The first backup is whole, the second is whole or absent, and the next one stores nothing that is listed."""
    store = _PLACES[place](_prepared(), tmp_path)
    faulty = FaultyStore(store, fault, at=call + 1)  # after opening
    try:
        _back_up(open_repository(faulty, None), "second")
    except Killed:
        pass
    else:
        faulty.cut_power()

    repository = open_repository(store, None)
    backups, unreadable = repository.readable_backups()
    assert unreadable == ()
    expected = {"first": _BEFORE, "second": _AFTER}
    assert [backup.id for backup in backups] in (["first"], ["first", "second"])
    assert all(read_files(repository, backup) == expected[backup.id] for backup in backups)
    listed, packs = _listed_blobs(repository), list_packs(store)
    third = _back_up(repository, "third")
    assert read_files(repository, third) == _AFTER
    new = [check_pack(store, repository.keyring, pack) for pack in list_packs(store) - packs]
    assert listed.isdisjoint(ref.id for pack in new for ref in pack.refs())
    assert_proven(repository)


def test_what_was_acknowledged_survives_a_power_cut() -> None:
    """A backup whose commit returned is there, with all it needs, when the power goes at once."""
    store = _in_memory(_prepared(), Path())
    faulty = FaultyStore(store)

    second = _back_up(open_repository(faulty, None), "second")
    faulty.cut_power()

    repository = open_repository(store, None)
    assert second in repository.backups()
    assert read_files(repository, second) == _AFTER


@pytest.mark.parametrize("call", [3, 8, 12, 14, 16, 18, 20])
def test_a_process_that_was_killed_leaves_only_whole_backups(call: int, tmp_path: Path) -> None:
    """SIGKILL: threads, locks and open files die with it, and another process goes on."""
    folder = tmp_path / "repository"
    repository = make_repository(FolderStore(folder), None)
    first = back_up(repository, sample_files(1), "first")
    script = Path(__file__).with_name("back_up_and_die.py")
    environment = {**os.environ, "PYTHONPATH": str(script.parent.parent)}

    died = subprocess.run(
        [sys.executable, str(script), str(folder), str(call)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (died.returncode, died.stdout) in {(-signal.SIGKILL, ""), (0, "made\n")}, died.stderr
    found = open_repository(FolderStore(folder), None)
    assert {backup.id for backup in found.backups()} in ({"first"}, {"first", "second"})
    assert first in found.backups()
    assert_proven(found)
    third = back_up(found, sample_files(2), "third", parent=first)
    assert read_files(found, third) == sample_files(2)
    shutil.rmtree(folder)
