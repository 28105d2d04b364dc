"""The index cache: it knows what the current indexes list, never more, and no damage to its file is believed."""

from __future__ import annotations

import fcntl
import os
import random
import resource
import secrets
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import safepoint
from safepoint import errors
from safepoint.repository.packs import index_file
from safepoint.repository.packs.index import EVERY_CLUSTER, put_index
from safepoint.repository.packs.index_cache import IndexCache
from safepoint.repository.packs.pack import ENTRY, PackContents
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores import FolderStore, MemoryStore, Store

KEY = secrets.token_bytes(32)
KEYRING = Keyring(family=bytes(16), masters={1: KEY}, is_encrypted=True)
REPOSITORY = "4cbf2f3ac2d04a9c8a8b4f0a4a1f7e21"
CLUSTER = "7345678901234567890"
PROGRAM = Path(__file__).with_name("refresh_and_die.py")
MANY = 16_000  # a file of some 900 kB


def pack_with(ids: Sequence[bytes], seed: int = 0) -> PackContents:
    """These blobs, one behind the other."""
    entries = np.zeros(len(ids), ENTRY)
    entries["id"] = np.frombuffer(b"".join(ids), "V32")
    entries["offset"] = 48 + 100 * np.arange(len(ids))
    entries["length"] = 100
    entries["raw_length"] = 8192
    return PackContents(pack=random.Random(f"pack {seed} {len(ids)}").randbytes(32), table=entries.tobytes())


def pack_of(blobs: int, seed: int) -> PackContents:
    """Blobs of random ids."""
    source = random.Random(seed)
    return pack_with([source.randbytes(32) for _ in range(blobs)], seed)


def put(store: Store, *packs: PackContents, cluster: str = CLUSTER, supersedes: Sequence[str] = ()) -> str:
    """One more index object."""
    return put_index(store, KEYRING, cluster, packs, supersedes)


def cache_in(directory: Path, store: Store) -> IndexCache:
    """A cache of the store, fresh."""
    cache = IndexCache(directory, REPOSITORY, CLUSTER)
    cache.refresh(store, KEYRING)
    return cache


def must_know(cache: IndexCache, *packs: PackContents) -> None:
    """Every blob of the packs is found where it lies."""
    for pack in packs:
        for ref in pack.refs():
            assert cache.lookup_all(ref.id) == (ref,)


def must_not_know(cache: IndexCache, *packs: PackContents) -> None:
    """No blob of the packs is found."""
    for pack in packs:
        for ref in pack.refs():
            assert cache.lookup_all(ref.id) == ()


def file_in(directory: Path) -> Path:
    """The one cache file; whatever else is there is the lock."""
    names = sorted(path.name for path in directory.iterdir())
    assert [name.partition(".")[2] for name in names] == ["", "lock"]
    return directory / names[0]


def written_at(directory: Path) -> tuple[int, int]:
    """Changes when the file is replaced."""
    found = file_in(directory).stat()
    return found.st_ino, found.st_mtime_ns


def flip(path: Path, *places: int) -> None:
    """One bit of the file is another at each of these bytes."""
    data = bytearray(path.read_bytes())
    for at in places:
        data[at] ^= 1
    path.write_bytes(data)


class Reads(MemoryStore):
    """Knows which objects were read whole."""

    def __init__(self) -> None:
        super().__init__()
        self.whole: list[str] = []
        self.failure: errors.SafepointError | None = None

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        if length > 1 << 20:
            if self.failure is not None:
                raise self.failure
            self.whole.append(name)
        return super().get_range(name, offset, length)


def test_every_listed_blob_is_found_where_it_lies(tmp_path: Path) -> None:
    """Few and many; what is not listed is not found."""
    store = MemoryStore()
    packs = [pack_of(MANY, 1), pack_of(1, 2), pack_of(0, 3)]
    put(store, *packs)
    cache = cache_in(tmp_path, store)
    must_know(cache, *packs)
    must_not_know(cache, pack_of(MANY, 4))


def test_an_empty_repository_knows_nothing(tmp_path: Path) -> None:
    """And says so without an error."""
    must_not_know(cache_in(tmp_path, MemoryStore()), pack_of(20_000, 1))


def test_ids_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    """Rows are sorted by eight bytes only; all 32 are compared."""
    store = MemoryStore()
    alike = pack_with([bytes(8) + number.to_bytes(24, "big") for number in range(600)])
    put(store, alike, pack_of(MANY, 1))
    cache = cache_in(tmp_path, store)
    must_know(cache, alike)
    must_not_know(cache, pack_with([bytes(8) + number.to_bytes(24, "little") for number in range(1, 600)]))


def test_an_id_that_lies_across_two_rows_is_not_there(tmp_path: Path) -> None:
    """Its bytes stand in the file, but not where an id stands."""
    store = MemoryStore()
    first = bytes(32)
    second = bytes(31) + b"\1"
    put(store, pack_with([first, second]))
    cache = cache_in(tmp_path, store)
    rows = file_in(tmp_path).read_bytes()[160 : 160 + 96]
    for at in range(1, 48):
        stray = rows[at : at + 32]
        assert bool(cache.lookup_all(stray)) == (stray in {first, second})


@pytest.mark.parametrize("identity", [b"", bytes(31), bytes(33)], ids=len)
def test_an_id_of_another_length_is_a_mistake(tmp_path: Path, identity: bytes) -> None:
    """It is never taken for absent."""
    cache = cache_in(tmp_path, MemoryStore())
    with pytest.raises(ValueError, match="expected 32"):
        cache.lookup_all(identity)


def test_a_look_up_before_the_first_refresh_is_a_mistake(tmp_path: Path) -> None:
    """What was not read is not absent."""
    with pytest.raises(ValueError, match="refresh"):
        IndexCache(tmp_path, REPOSITORY, CLUSTER).lookup_all(bytes(32))


def test_a_blob_in_several_packs_has_several_places(tmp_path: Path) -> None:
    """Each once, though one pack is listed twice."""
    store = MemoryStore()
    shared = secrets.token_bytes(32)
    packs = [pack_with([shared, secrets.token_bytes(32)], seed) for seed in range(3)]
    put(store, *packs)
    put(store, packs[0])
    cache = cache_in(tmp_path, store)
    expected = {next(iter(pack.refs())) for pack in packs}
    assert len(cache.lookup_all(shared)) == 3
    assert set(cache.lookup_all(shared)) == expected


def test_a_refresh_reads_only_what_is_new(tmp_path: Path) -> None:
    """Also in another process; and when there is nothing new the file stays as it is."""
    store = Reads()
    first = put(store, pack_of(1000, 1))
    cache = cache_in(tmp_path, store)
    second = put(store, pack_of(1000, 2))
    assert cache.refresh(store, KEYRING).read == 1
    written = written_at(tmp_path)
    other = IndexCache(tmp_path, REPOSITORY, CLUSTER)
    assert (other.refresh(store, KEYRING).read, written_at(tmp_path)) == (0, written)
    assert store.whole == [first, second]
    must_know(other, pack_of(1000, 1), pack_of(1000, 2))


def test_what_is_superseded_is_forgotten(tmp_path: Path) -> None:
    """A pack that only the superseded index listed is gone from the cache; others are where they were."""
    store = MemoryStore()
    kept, gone, apart = pack_of(900, 1), pack_of(900, 2), pack_of(900, 3)
    old = put(store, kept, gone)
    put(store, apart)
    cache = cache_in(tmp_path, store)
    put(store, kept, supersedes=[old])
    refreshed = cache.refresh(store, KEYRING)
    assert (refreshed.indexes, refreshed.read, refreshed.dropped, refreshed.places) == (2, 1, 1, 1800)
    must_know(cache, kept, apart)
    must_not_know(cache, gone)


def test_an_index_that_was_deleted_is_forgotten(tmp_path: Path) -> None:
    """The cache never knows more than the store."""
    store = MemoryStore()
    name = put(store, pack_of(5, 1))
    put(store, pack_of(5, 2))
    cache = cache_in(tmp_path, store)
    store.delete(name)
    assert cache.refresh(store, KEYRING).dropped == 1
    must_not_know(cache, pack_of(5, 1))
    must_know(cache, pack_of(5, 2))


def test_a_damaged_index_is_named_and_what_it_superseded_stands_in(tmp_path: Path) -> None:
    """The rest is known; the damaged one is tried again each time, and a repair ends that."""
    store = MemoryStore()
    old = put(store, pack_of(50, 1))
    put(store, pack_of(50, 2))
    bad = put(store, pack_of(50, 1), pack_of(50, 3), supersedes=[old])
    data = bytearray(store.get(bad))
    data[-1] ^= 1
    store.delete(bad)
    store.put_if_absent(bad, bytes(data))
    cache = IndexCache(tmp_path, REPOSITORY, CLUSTER)
    for _ in range(2):
        refreshed = cache.refresh(store, KEYRING)
        assert set(refreshed.damaged) == {bad}
        assert refreshed.damaged[bad].spec is errors.RP005
        must_know(cache, pack_of(50, 1), pack_of(50, 2))
        must_not_know(cache, pack_of(50, 3))
    put(store, pack_of(50, 1), pack_of(50, 3), supersedes=[bad, old])
    assert not cache.refresh(store, KEYRING).damaged
    must_know(cache, pack_of(50, 1), pack_of(50, 2), pack_of(50, 3))


def test_a_cluster_knows_its_own_and_what_is_everybodys(tmp_path: Path) -> None:
    """The indexes of other clusters are not read."""
    store = Reads()
    foreign = put(store, pack_of(5, 1), cluster="7000000000000000001")
    put(store, pack_of(5, 2), cluster=EVERY_CLUSTER)
    put(store, pack_of(5, 3))
    cache = cache_in(tmp_path, store)
    must_know(cache, pack_of(5, 2), pack_of(5, 3))
    must_not_know(cache, pack_of(5, 1))
    assert foreign not in store.whole


def test_a_store_that_does_not_answer_leaves_the_cache_as_it_was(tmp_path: Path) -> None:
    """The error is the store's; what was known before is known still."""
    store = Reads()
    put(store, pack_of(5, 1))
    cache = cache_in(tmp_path, store)
    put(store, pack_of(5, 2))
    store.failure = errors.ST001.error("found no answer, expected one")
    with pytest.raises(errors.Unreachable):
        cache.refresh(store, KEYRING)
    must_know(cache, pack_of(5, 1))
    store.failure = None
    cache.refresh(store, KEYRING)
    must_know(cache, pack_of(5, 1), pack_of(5, 2))


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


def test_directories_and_files_are_this_users_alone(tmp_path: Path) -> None:
    """0700 and 0600, those above that were made as well; the file's name does not say the cluster's."""
    directory = tmp_path / "cache" / "safepoint" / REPOSITORY
    cache_in(directory, MemoryStore())
    made = [directory.parent.parent, directory.parent, directory]
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o700] * 3
    assert [stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()] == [0o600] * 2
    assert CLUSTER not in file_in(directory).name


def test_where_the_directory_cannot_be_made_a_file_without_a_name_serves(tmp_path: Path) -> None:
    """It grows by refreshes like another, and reads nothing twice."""
    (tmp_path / "file").write_bytes(b"")
    store = Reads()
    put(store, pack_of(500, 1))
    cache = cache_in(tmp_path / "file" / "cache", store)
    put(store, pack_of(500, 2))
    cache.refresh(store, KEYRING)
    must_know(cache, pack_of(500, 1), pack_of(500, 2))
    assert len(store.whole) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_can_only_be_read_is_read(tmp_path: Path) -> None:
    """What somebody else prepared there is used, and what it lacks is kept in a file without a name."""
    store = Reads()
    put(store, pack_of(500, 1))
    cache_in(tmp_path, store)
    path = file_in(tmp_path)
    path.with_suffix(".lock").unlink()
    path.with_suffix(".lock").mkdir()  # as root may write anywhere, the lock is what cannot be opened
    put(store, pack_of(500, 2))
    written = path.read_bytes()
    must_know(cache_in(tmp_path, store), pack_of(500, 1), pack_of(500, 2))
    assert len(store.whole) == 2
    assert path.read_bytes() == written


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


def test_a_small_file_reads_like_a_large_one() -> None:
    """The fan-out grows with the rows, in whole segments, and never beyond what a slot's four bytes can tell."""
    assert [index_file.bits_for(rows) for rows in (0, 1000, 40_000_000, 10**9, 10**12)] == [14, 14, 21, 24, 24]


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
    """Whether the kernel holds it up (proc_locks(5): a waiter's line has an arrow)."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and str(process.pid) in line.split() for line in lines)


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
