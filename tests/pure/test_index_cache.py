"""The index cache: it knows what the current indexes list, never more, and no damage to its file is believed."""

from __future__ import annotations

import secrets
import stat
from pathlib import Path

import pytest

from index_cache_samples import (
    CLUSTER,
    KEYRING,
    MANY,
    REPOSITORY,
    Reads,
    cache_in,
    file_in,
    must_know,
    must_not_know,
    pack_of,
    pack_with,
    put,
    written_at,
)
from safepoint import errors
from safepoint.repository.packs import index_file
from safepoint.repository.packs.index import EVERY_CLUSTER
from safepoint.repository.packs.index_cache import IndexCache
from safepoint.stores import MemoryStore


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


def test_a_small_file_reads_like_a_large_one() -> None:
    """The fan-out grows with the rows, in whole segments, and never beyond what a slot's four bytes can tell."""
    assert [index_file.bits_for(rows) for rows in (0, 1000, 40_000_000, 10**9, 10**12)] == [14, 14, 21, 24, 24]
