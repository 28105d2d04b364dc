"""Caches of indexes, what they must know, and how their files are spoiled."""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from safepoint import errors
from safepoint.repository.packs.index import put_index
from safepoint.repository.packs.index_cache import IndexCache
from safepoint.repository.packs.pack import ENTRY, PackContents
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores import MemoryStore, Store

KEY = secrets.token_bytes(32)
KEYRING = Keyring(family=bytes(16), masters={1: KEY}, is_encrypted=True)
REPOSITORY = "4cbf2f3ac2d04a9c8a8b4f0a4a1f7e21"
CLUSTER = "7345678901234567890"
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
