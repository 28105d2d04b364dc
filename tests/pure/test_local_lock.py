"""Locks between processes: who was stopped stops nobody."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from safepoint.repository import local_lock
from safepoint.repository.commit.journal_state import StateKeeper
from safepoint.repository.local_lock import locked
from safepoint.repository.packs.index_cache import IndexCache
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores import MemoryStore

_KEYRING = Keyring(family=bytes(16), masters={1: bytes(32)}, is_encrypted=True)


@contextmanager
def _held_by_another(path: Path) -> Generator[None]:
    """As by a process that was stopped: `flock` belongs to the open file, not to the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_lock, "PATIENCE_SECONDS", 0.1)


def test_a_lock_that_is_held_is_given_up(tmp_path: Path) -> None:
    """OSError soon, and the lock can be had once it is free."""
    with _held_by_another(tmp_path / "lock"), pytest.raises(OSError, match="unavailable"), locked(tmp_path / "lock"):
        pass
    with locked(tmp_path / "lock"):
        pass


def test_an_index_cache_that_another_process_holds_is_done_without(tmp_path: Path) -> None:
    """It answers from a file without a name; nothing is written where the other may be writing."""
    cache = IndexCache(tmp_path / "cache", "id", "7")
    assert cache.refresh(MemoryStore(), _KEYRING).places == 0
    (path,) = (tmp_path / "cache").glob("*.lock")
    path.with_suffix("").unlink()
    other = IndexCache(tmp_path / "cache", "id", "7")
    begun = time.monotonic()

    with _held_by_another(path):
        assert other.refresh(MemoryStore(), _KEYRING).places == 0

    assert time.monotonic() - begun < 5
    assert other.lookup_all(bytes(32)) == ()
    assert not path.with_suffix("").exists()


def test_a_journal_state_that_another_process_holds_is_done_without(tmp_path: Path) -> None:
    """The session keeps its state in memory."""
    keeper = StateKeeper(tmp_path)

    with _held_by_another(tmp_path / "journal.lock"), keeper.held():
        pass

    assert not keeper.is_persistent
