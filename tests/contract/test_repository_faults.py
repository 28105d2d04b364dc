"""Killed, cut off, torn, full: at every store call of a backup, and what must be true afterwards."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from repository_samples import (
    CLUSTER,
    MARK,
    PASSPHRASE,
    SEGMENT,
    make_repository,
    manifest_of,
    read_everything,
    sample_blobs,
    store_blobs,
    wal_bytes,
)
from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.repository import Repository, open_repository
from safepoint.repository.sealing.keys import DESCRIPTION_NAME
from safepoint.stores import FolderStore, MemoryStore, Store
from safepoint.stores.faults import Fault, FaultyStore, Killed

_DEADLY = (Fault.KILL, Fault.KILL_AFTER, Fault.POWER_CUT)
_SURVIVABLE = (Fault.FAIL, Fault.LOST_ANSWER, Fault.FULL)


def _back_up(repository: Repository, backup_id: str = "second", seed: int = 2) -> BackupManifest:
    """A backup of three packs."""
    with repository.writer() as writer:
        writer._pack_bytes = 50_000
        for blob in sample_blobs(12, seed=seed):
            writer.add(blob)
        refs = writer.finish()
    manifest = manifest_of(refs, backup_id)
    repository.put_backup(manifest)
    return manifest


def _prepared() -> tuple[Store, Repository]:
    """A store with one backup in it."""
    store = MemoryStore()
    repository = make_repository(store, None)
    _back_up(repository, "first", seed=1)
    return store, repository


def _calls_of_a_backup() -> int:
    store, _ = _prepared()
    counted = FaultyStore(store)
    repository = open_repository(counted, None)
    counted.calls.clear()
    _back_up(repository)
    return len(counted.calls)


_CALLS = range(1, _calls_of_a_backup() + 1)


def _attempt(store: Store, fault: Fault, call: int) -> BaseException | None:
    """Backs up into the store with the fault at this call after opening."""
    faulty = FaultyStore(store, fault, at=call + 1)
    repository = open_repository(faulty, None)
    try:
        _back_up(repository)
    except (Killed, errors.SafepointError) as error:
        return error
    return None


@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.parametrize("fault", _DEADLY)
def test_killed_at_any_call_leaves_only_whole_backups(fault: Fault, call: int) -> None:
    """After a kill or a power cut at every call: the first backup is whole, the second is whole or absent."""
    store, _ = _prepared()

    assert isinstance(_attempt(store, fault, call), Killed)

    repository = open_repository(store, None)
    assert {backup.id for backup in repository.backups()} in ({"first"}, {"first", "second"})
    read_everything(repository)
    _back_up(repository, "third", seed=3)
    read_everything(repository)


@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.parametrize("fault", _SURVIVABLE)
def test_a_failed_call_fails_the_backup_and_nothing_else(fault: Fault, call: int) -> None:
    """A store that refuses, is full or loses an answer: the backup raises, and leaves no pack unless it exists."""
    store, _ = _prepared()
    packs = set(store.list("packs/"))

    error = _attempt(store, fault, call)

    repository = open_repository(store, None)
    read_everything(repository)
    has_second = len(repository.backup_names()) == 2
    assert error is None or isinstance(error, errors.Unreachable)
    assert has_second or error is not None
    is_before_manifest = call < _CALLS[-3]  # then come the packs' sizes and the manifest: the writer has finished
    assert not (is_before_manifest and not has_second) or set(store.list("packs/")) == packs


@pytest.mark.parametrize("call", _CALLS)
def test_a_torn_object_is_never_a_readable_backup(call: int) -> None:
    """Where a store breaks its promise and keeps half an object, reading says so or the object is not referred to."""
    store, _ = _prepared()
    _attempt(store, Fault.TORN, call)
    repository = open_repository(store, None)

    if f"backups/{CLUSTER}/second" in repository.backup_names():
        with pytest.raises(errors.Damaged, match=f"RP005: .*backups/{CLUSTER}/second"):
            repository.backups()
    else:
        read_everything(repository)


def test_a_put_of_a_backup_whose_answer_was_lost_can_be_repeated() -> None:
    """The manifest is there; putting it again says so."""
    store, repository = _prepared()
    manifest = manifest_of(store_blobs(repository, sample_blobs(2)), "second")
    faulty = FaultyStore(store, Fault.LOST_ANSWER, at=3)  # open, size of the pack, put
    repository = open_repository(faulty, None)
    with pytest.raises(errors.Unreachable):
        repository.put_backup(manifest)

    repository.put_backup(manifest)

    assert repository.backup("second") == manifest


@pytest.mark.parametrize("call", range(1, 9))
@pytest.mark.parametrize("fault", _DEADLY)
def test_a_creation_that_was_killed_can_be_repeated(fault: Fault, call: int) -> None:
    """At any call: the repository exists and opens, or does not exist and can be created."""
    store = MemoryStore()
    with contextlib.suppress(Killed):
        make_repository(dying := FaultyStore(store, fault, at=call))
        dying.cut_power()

    repository = (
        open_repository(store, PASSPHRASE) if DESCRIPTION_NAME in store.list("") else make_repository(store, PASSPHRASE)
    )

    _back_up(repository)
    read_everything(open_repository(store, PASSPHRASE))


@pytest.mark.parametrize("fault", _DEADLY)
@pytest.mark.parametrize("call", range(1, 5))
def test_wal_that_was_acknowledged_survives_a_power_cut(fault: Fault, call: int) -> None:
    """A put that returned is there afterwards; one that died can be repeated."""
    store, repository = _prepared()
    faulty = FaultyStore(store, fault, at=call + 1)
    is_acknowledged = False
    try:
        open_repository(faulty, None).put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=MARK)
        is_acknowledged = True
        faulty.cut_power()
    except Killed:
        pass

    if not is_acknowledged:
        repository.put_wal_segment(CLUSTER, SEGMENT, wal_bytes(), history=b"", mark=MARK)

    (piece,) = repository.wal_pieces(CLUSTER)
    assert repository.read_wal(CLUSTER, piece) == wal_bytes()


def test_a_backup_that_fills_the_disk_does_not_exist(tmp_path: Path) -> None:
    """ST002, its packs are withdrawn so that there is room again, and the backup before it is whole."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root: run `sudo make test`")
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this container may not mount a small file system: run it with CAP_SYS_ADMIN")
    try:
        repository = make_repository(FolderStore(disk / "repository"))
        first = _back_up(repository, "first")

        with pytest.raises(errors.Unreachable) as caught:
            store_blobs(repository, sample_blobs(300, size=40_000, seed=5))

        assert caught.value.spec is errors.ST002
        assert repository.backups() == (first,)
        read_everything(repository)
        _back_up(repository, "third", seed=3)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
