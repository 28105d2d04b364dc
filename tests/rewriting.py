"""Repositories whose packs are rewritten, copied and repaired: what every test of that begins with and ends with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from repository_samples import CLUSTER, NOON, back_up, make_repository, read_files
from safepoint.model.backup import BackupManifest
from safepoint.repository import Repository
from safepoint.repository.care.collection import collect
from safepoint.repository.care.collection_values import Collected
from safepoint.repository.packs.index_upkeep import drop_packs
from safepoint.stores.faults import Fault, FaultyStore, Killed
from safepoint.stores.memory import MemoryStore
from safepoint.stores.port import Data, Store

Contents = dict[str, bytes]
History = dict[str, Contents]


def large_files(seed: int, pages: int = 100) -> Contents:
    """A relation of so many random pages, and a small file."""
    source = random.Random(seed)
    return {"PG_VERSION": b"17\n", "base/5/1": source.randbytes(8192 * pages), "base/5/2": source.randbytes(3000)}


def changed_files(files: Mapping[str, bytes], seed: int, pages: int = 9) -> Contents:
    """The same, some pages of its relation changed."""
    source = random.Random(seed)
    relation = bytearray(files["base/5/1"])
    for page in source.sample(range(len(relation) // 8192), pages):
        relation[page * 8192 : page * 8192 + 100] = source.randbytes(100)
    return {**files, "base/5/1": bytes(relation)}


def write_history(repository: Repository, count: int = 3, pages: int = 100) -> History:
    """Backups b0, b1, …, each on top of the one before; what they hold."""
    found: History = {}
    files, parent = large_files(1, pages), None
    for number in range(count):
        files = changed_files(files, 100 + number) if number else files
        parent = back_up(repository, files, f"b{number}", age=count - number, parent=parent)
        found[f"b{number}"] = files
    return found


def must_hold(repository: Repository, history: Mapping[str, Mapping[str, bytes]]) -> None:
    """Exactly these backups are listed, and each reads back byte for byte."""
    held = {manifest.id: manifest for manifest in opened_again(repository).backups()}
    assert held.keys() == history.keys()
    for backup_id, files in history.items():
        assert read_files(opened_again(repository), held[backup_id]) == files


def opened_again(repository: Repository, store: Store | None = None) -> Repository:
    """Another process that opens the same repository and knows nothing yet."""
    return Repository(store or repository.store, repository.description, repository.keyring, repository.clock)


def collect_garbage(repository: Repository, *, force: bool = False) -> Collected:
    """A collection, as the command runs it."""
    return collect(
        repository.store,
        repository.keyring,
        mark=repository.needed_packs,
        drop_packs_from_indexes=partial(drop_packs, repository.store, repository.keyring),
        clock=repository.clock,
        force=force,
        claimed=repository.claimed_backups,
    )


def copy_of(store: Store) -> MemoryStore:
    """A store with the same objects."""
    copied = MemoryStore()
    for name in store.list(""):
        copied.put_if_absent(name, store.get(name))
    return copied


class OneProcess(MemoryStore):
    """What one process does on a disk that others use, too: its barrier syncs what it put itself, or put again."""

    def __init__(self, disk: MemoryStore, unsynced: set[str], *, dies_at_barrier: bool = False) -> None:
        super().__init__()
        self._disk, self._unsynced, self._dies, self._mine = disk, unsynced, dies_at_barrier, set[str]()
        self._is_dead = False

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        """As the port says; a name that is taken is synced all the same."""
        self._live()
        is_new = self._disk.put_if_absent(name, data)
        if not durable:
            self._unsynced |= {name} if is_new else set()
            self._mine.add(name)
        else:
            self._unsynced.discard(name)
        return is_new

    def barrier(self) -> None:
        """Syncs; or dies, when packs would be synced."""
        if self._dies and any(name.startswith("packs/") for name in self._mine):
            self._is_dead = True
        self._live()
        self._unsynced -= self._mine

    def get(self, name: str) -> bytes:
        """The disk's."""
        return self._disk.get(name)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """The disk's."""
        return self._disk.get_range(name, offset, length)

    def list(self, prefix: str) -> Iterator[str]:
        """The disk's."""
        return self._disk.list(prefix)

    def size(self, name: str) -> int:
        """The disk's."""
        return self._disk.size(name)

    def delete(self, name: str) -> None:
        """The disk's, synced."""
        self._live()
        self._disk.delete(name)
        self._unsynced.discard(name)

    def _live(self) -> None:
        if self._is_dead:
            raise Killed


def killed_everywhere(
    store: Store, work: Callable[[Store], object], check: Callable[[Store, int], None], fault: Fault = Fault.KILL
) -> int:
    """Runs the work on copies of the store, killed at its first, second, … call; `check` looks at what is left.

    Returns how many calls the work makes.
    """
    at = 1
    while True:
        left = copy_of(store)
        faulty = FaultyStore(left, fault, at=at)
        try:
            work(faulty)
        except Killed:
            check(left, at)
            at += 1
            continue
        if len(faulty.calls) < at:
            return len(faulty.calls)
        at += 1  # that call found nothing, which is an answer and no death: the next one's comes to the same


__all__ = [
    "CLUSTER",
    "NOON",
    "BackupManifest",
    "Contents",
    "History",
    "changed_files",
    "collect_garbage",
    "copy_of",
    "killed_everywhere",
    "large_files",
    "make_repository",
    "must_hold",
    "opened_again",
    "write_history",
]
