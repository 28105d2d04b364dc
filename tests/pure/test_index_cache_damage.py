"""The cache of indexes under damage, death and company: never believed when wrong, made anew, one builder at a time."""

from __future__ import annotations

import fcntl
import os
import resource
import secrets
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import safepoint
from index_cache_samples import (
    CLUSTER,
    KEY,
    KEYRING,
    MANY,
    REPOSITORY,
    Reads,
    cache_in,
    file_in,
    must_know,
    must_not_know,
    pack_of,
    put,
    written_at,
)
from safepoint import errors
from safepoint.repository.packs.index import put_index
from safepoint.repository.packs.index_cache import IndexCache
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores import FolderStore, MemoryStore

PROGRAM = Path(__file__).with_name("refresh_and_die.py")


def flip(path: Path, *places: int) -> None:
    """One bit of the file is another at each of these bytes."""
    data = bytearray(path.read_bytes())
    for at in places:
        data[at] ^= 1
    path.write_bytes(data)


SIZES = [0, 1, 100, 159, 160, 161, 100_000, -1]


@pytest.mark.parametrize("size", SIZES)
def test_a_file_cut_short_is_made_anew(tmp_path: Path, size: int) -> None:
    """Wherever it ends."""
    store = MemoryStore()
    put(store, pack_of(MANY, 1))
    cache_in(tmp_path, store)
    path = file_in(tmp_path)
    os.truncate(path, size % path.stat().st_size)
    must_know(cache_in(tmp_path, store), pack_of(MANY, 1))


OFFSETS = {
    "magic": 0,
    "version": 8,
    "byte order": 12,
    "binding": 20,
    "row count": 49,
    "tail's length": 65,
    "header's digest": 110,
    "first row": 160,
    "a row's place": 160 + 48 * 1000 + 33,
    "last row": 160 + 48 * MANY - 1,
    "fan-out": 160 + 48 * MANY + 4 * 1000,
    "segments' digests": 160 + 48 * MANY + 4 * ((1 << 14) + 1) + 5,
    "names": -1,
}


@pytest.mark.parametrize("at", OFFSETS.values(), ids=OFFSETS.keys())
def test_one_flipped_bit_is_never_believed(tmp_path: Path, at: int) -> None:
    """Every answer is right, whichever byte it is, for a cache that opens the file and for one that has it open."""
    store = MemoryStore()
    put(store, pack_of(MANY, 1))
    earlier = cache_in(tmp_path, store)
    flip(file_in(tmp_path), at)
    later = cache_in(tmp_path, store)
    for cache in (later, earlier):
        must_know(cache, pack_of(MANY, 1))
        must_not_know(cache, pack_of(100, 2))
    written = written_at(tmp_path)
    must_know(cache_in(tmp_path, store), pack_of(MANY, 1))
    assert written_at(tmp_path) == written


def test_a_look_up_that_meets_the_damage_mends_it(tmp_path: Path) -> None:
    """The answer is right, and the file behind it is a new one."""
    store = MemoryStore()
    put(store, pack_of(500, 1))
    cache_in(tmp_path, store)
    flip(file_in(tmp_path), *range(160 + 40, 160 + 500 * 48, 48))
    cache, written = cache_in(tmp_path, store), written_at(tmp_path)
    ref = next(pack_of(500, 1).refs())
    answer = cache.lookup_all(ref.id)
    assert written_at(tmp_path) != written
    assert answer == (ref,)


def test_a_damaged_row_is_not_carried_over(tmp_path: Path) -> None:
    """A rewrite checks what it takes from the old file, also what it has checked before."""
    store = Reads()
    name = put(store, pack_of(MANY, 1))
    cache = cache_in(tmp_path, store)
    must_know(cache, pack_of(MANY, 1))
    descriptor = os.open(file_in(tmp_path), os.O_RDWR)
    os.pwrite(descriptor, b"\xff\xff", 160 + 48 * 1000 + 38)
    os.close(descriptor)
    put(store, pack_of(5, 2))
    cache.refresh(store, KEYRING)
    must_know(cache, pack_of(MANY, 1), pack_of(5, 2))
    assert store.whole.count(name) == 2


def test_a_file_of_another_repository_cluster_or_key_is_not_believed(tmp_path: Path) -> None:
    """Copied to where this one's should be, it is made anew, and answers for this one only."""
    own, foreign = MemoryStore(), MemoryStore()
    put(own, pack_of(5, 1))
    other_keyring = Keyring(family=bytes(16), masters={1: secrets.token_bytes(32)}, is_encrypted=True)
    put_index(foreign, other_keyring, CLUSTER, [pack_of(5, 2)])
    put(foreign, pack_of(5, 3), cluster="7000000000000000001")
    IndexCache(tmp_path / "repository", "another", CLUSTER).refresh(own, KEYRING)
    IndexCache(tmp_path / "cluster", REPOSITORY, "7000000000000000001").refresh(foreign, KEYRING)
    IndexCache(tmp_path / "key", REPOSITORY, CLUSTER).refresh(foreign, other_keyring)
    cache_in(tmp_path / "own", own)
    for kind in ("repository", "cluster", "key"):
        file_in(tmp_path / "own").write_bytes(file_in(tmp_path / kind).read_bytes())
        cache = cache_in(tmp_path / "own", own)
        must_know(cache, pack_of(5, 1))
        must_not_know(cache, pack_of(5, 2), pack_of(5, 3))


def test_a_full_disk_is_said_and_leaves_the_old_file(tmp_path: Path) -> None:
    """CF007, nothing half written beside it, and the next refresh succeeds."""
    store = MemoryStore()
    put(store, pack_of(500, 1))
    cache = cache_in(tmp_path, store)
    put(store, pack_of(MANY, 2))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with pytest.raises(errors.Misconfigured) as caught:
            cache.refresh(store, KEYRING)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.spec is errors.CF007
    must_know(cache_in(tmp_path, store), pack_of(500, 1), pack_of(MANY, 2))


def test_look_ups_go_on_while_the_file_is_replaced(tmp_path: Path) -> None:
    """Threads that look up during refreshes get right answers."""
    store = MemoryStore()
    put(store, pack_of(2000, 0))
    cache = cache_in(tmp_path, store)
    with ThreadPoolExecutor(2) as pool:
        looking = [pool.submit(must_know, cache, pack_of(2000, 0)) for _ in range(4)]
        for seed in range(1, 6):
            put(store, pack_of(10, seed))
            cache.refresh(store, KEYRING)
        for each in looking:
            each.result()


def refreshing(store: Path, directory: Path, *death: str) -> subprocess.Popen[str]:
    """A process that refreshes the cache, and dies as told."""
    environment = {**os.environ, "PYTHONPATH": str(Path(safepoint.__file__).parent.parent)}
    arguments = [sys.executable, str(PROGRAM), str(store), str(directory), KEY.hex(), REPOSITORY, CLUSTER, *death]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)


DEATHS = ["read 1", "read 2", "write 1", "write 2", "write 100", "write 258", "write 259", "rename 1", "renamed 1"]


@pytest.mark.parametrize("death", DEATHS)
def test_killed_while_refreshing_the_old_or_the_new_file_is_there(tmp_path: Path, death: str) -> None:
    """By SIGKILL, anywhere: the file opens as it is, and the next refresh completes it and leaves nothing behind."""
    store, directory = FolderStore(tmp_path / "store"), tmp_path / "cache"
    old, new = pack_of(2000, 1), [pack_of(2000, 2), pack_of(2000, 3)]
    put(store, old)
    cache_in(directory, store)
    before = next(path for path in directory.iterdir() if not path.suffix).read_bytes()
    for pack in new:
        put(store, pack)
    with refreshing(tmp_path / "store", directory, *death.split()) as process:
        assert process.wait(60) == -9
    after = next(path for path in directory.iterdir() if not path.suffix).read_bytes()
    assert (after == before) == (death != "renamed 1")
    cache = IndexCache(directory, REPOSITORY, CLUSTER)
    assert cache.refresh(store, KEYRING).read == (0 if death == "renamed 1" else 2)
    must_know(cache, old, *new)
    assert file_in(directory)


def waits_for_a_lock(process: subprocess.Popen[str]) -> bool:
    """Whether it has the lock file open, which somebody else holds."""
    return any(path.name.endswith(".lock") for path in map(Path.resolve, Path(f"/proc/{process.pid}/fd").iterdir()))


def test_of_two_processes_one_builds(tmp_path: Path) -> None:
    """Both wait while a third holds the lock; then each index is read once, and both end well."""
    store, directory = FolderStore(tmp_path / "store"), tmp_path / "cache"
    cache_in(directory, store)
    for seed in range(8):
        put(store, pack_of(1000, seed))
    lock = os.open(file_in(directory).with_suffix(".lock"), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    both = [refreshing(tmp_path / "store", directory) for _ in range(2)]
    while not all(map(waits_for_a_lock, both)):
        assert [process.poll() for process in both] == [None, None]
        time.sleep(0.05)
    os.close(lock)
    read = [int(process.communicate(timeout=60)[0]) for process in both]
    assert sorted(read) == [0, 8]
    must_know(cache_in(directory, store), *[pack_of(1000, seed) for seed in range(8)])
