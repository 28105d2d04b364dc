"""Cut off, torn, full: at every store call of a backup, of a creation and of WAL, and what must be true afterwards.

What must be true after a death at every call of a backup is in test_backup_kill_sweep.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from pathlib import Path

import pytest

from repository_samples import (
    CLUSTER,
    MARK,
    PASSPHRASE,
    SEGMENT,
    assert_proven,
    back_up,
    make_repository,
    sample_files,
    wal_bytes,
)
from safepoint import errors
from safepoint.repository import Repository, open_repository
from safepoint.repository.names import DESCRIPTION_NAME
from safepoint.stores import FolderStore, MemoryStore, Store
from safepoint.stores.faults import Fault, FaultyStore, Killed

_DEADLY = (Fault.KILL, Fault.KILL_AFTER, Fault.POWER_CUT)
_SURVIVABLE = (Fault.FAIL, Fault.LOST_ANSWER, Fault.FULL)


def _prepared() -> tuple[Store, Repository]:
    """A store with one backup in it."""
    store = MemoryStore()
    repository = make_repository(store, None)
    back_up(repository, sample_files(1), "first")
    return store, repository


def _calls_of_a_backup() -> int:
    store, _ = _prepared()
    repository = open_repository(counted := FaultyStore(store), None)
    counted.calls.clear()
    back_up(repository, sample_files(2), "second")
    return len(counted.calls)


_CALLS = range(1, _calls_of_a_backup() + 1)


def _attempt(store: Store, fault: Fault, call: int) -> BaseException | None:
    """Backs up into the store with the fault at this call after opening."""
    faulty = FaultyStore(store, fault, at=call + 1)
    repository = open_repository(faulty, None)
    try:
        back_up(repository, sample_files(2), "second")
    except (Killed, errors.SafepointError) as error:
        return error
    return None


@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.parametrize("fault", _SURVIVABLE)
def test_a_failed_call_fails_the_backup_and_nothing_else(fault: Fault, call: int) -> None:
    """A store that refuses, is full or loses an answer: the backup raises or exists, whole; the next one succeeds."""
    store, _ = _prepared()

    error = _attempt(store, fault, call)

    repository = open_repository(store, None)
    found = [backup.id for backup in repository.backups()]
    assert found in (["first"], ["first", "second"])
    assert error is None or isinstance(error, errors.Unreachable)
    assert error is not None or found == ["first", "second"]
    back_up(repository, sample_files(3), "third")
    assert_proven(repository)


@pytest.mark.parametrize("call", _CALLS)
def test_a_torn_object_is_never_a_readable_backup(call: int) -> None:
    """Where a store breaks its promise and keeps half an object, reading says so or the object is not referred to."""
    store, _ = _prepared()
    _attempt(store, Fault.TORN, call)
    repository = open_repository(store, None)

    found, unreadable = repository.readable_backups()

    assert "first" in {backup.id for backup in found}
    if unreadable:
        with pytest.raises(errors.Damaged, match="RP005"):
            repository.backups()


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

    back_up(repository, sample_files())
    assert_proven(open_repository(store, PASSPHRASE))


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
    assert repository.read_wal(piece) == wal_bytes()


def test_a_backup_that_fills_the_disk_does_not_exist(tmp_path: Path) -> None:
    """ST002, its packs are withdrawn so that there is room again, and the backup before it is whole."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root: run `sudo make test`")
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this container may not mount a small file system: run it with CAP_SYS_ADMIN")
    try:
        repository = make_repository(FolderStore(disk / "repository"))
        first = back_up(repository, sample_files(1), "first")

        with pytest.raises(errors.Unreachable) as caught:
            back_up(repository, {"noise": random.Random(5).randbytes(12_000_000)}, "second")

        assert caught.value.spec is errors.ST002
        assert repository.backups() == (first,)
        assert_proven(repository)
        back_up(repository, sample_files(3), "third")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
