"""A repository with a sibling and a stranger that hold copies of it, and ways to damage it."""

from __future__ import annotations

from dataclasses import dataclass

from repository_samples import CHEAP, CLUSTER, MARK, MEBIBYTE, PASSPHRASE, TIMELINE, wal_bytes
from rewriting import (
    History,
    collect_garbage,
    copy_of,
    make_repository,
    must_hold,
    opened_again,
    write_history,
)
from safepoint.model.lsn import WalSegment
from safepoint.model.secret import Secret
from safepoint.repository import Repository, create_repository
from safepoint.repository.care.copy import copy
from safepoint.repository.maps.references import References
from safepoint.repository.names import end_name, lease_named_by, pack_name
from safepoint.repository.opening import open_keys
from safepoint.repository.packs.pack import BlobKind
from safepoint.stores.memory import MemoryStore

SEGMENT = WalSegment(TIMELINE, 40, MEBIBYTE)
WAL = wal_bytes()


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A repository of two backups, a sibling and a stranger that hold copies of them."""

    repository: Repository
    sibling: Repository
    stranger: Repository
    history: History

    @property
    def store(self) -> MemoryStore:
        store = self.repository.store
        assert isinstance(store, MemoryStore)
        return store


def make_scene() -> Scene:
    """Two backups and a segment of WAL, copied to both."""
    repository = make_repository(MemoryStore())
    history = write_history(repository, 2, pages=34)
    repository.put_wal_segment(CLUSTER, SEGMENT, WAL, history=b"", mark=MARK)
    opened = open_keys(repository.store, PASSPHRASE)
    sibling = create_repository(MemoryStore(), Secret("the sibling's own"), cost=CHEAP, sibling_of=opened)
    stranger = make_repository(MemoryStore(), Secret("the stranger's own"))
    copy(repository, sibling)
    copy(repository, stranger)
    return Scene(repository=repository, sibling=sibling, stranger=stranger, history=history)


def copy_of_scene(scene: Scene) -> Scene:
    """Fresh stores with the same objects."""

    def fresh(repository: Repository) -> Repository:
        return opened_again(repository, copy_of(repository.store))

    return Scene(
        repository=fresh(scene.repository),
        sibling=fresh(scene.sibling),
        stranger=fresh(scene.stranger),
        history=scene.history,
    )


def damage(store: MemoryStore, name: str, at: int | None = None) -> None:
    """One bit of the object is another, or one of every 100 bytes behind its header."""
    data = bytearray(store.get(name))
    for position in range(60, len(data), 100) if at is None else [at]:
        data[position] ^= 1
    store.delete(name)
    store.put_if_absent(name, bytes(data))


def must_be_proven(repository: Repository, history: History) -> None:
    """Backups and WAL read back, before and after a collection."""
    must_hold(repository, history)
    collect_garbage(opened_again(repository))
    must_hold(repository, history)
    (segment,) = repository.wal_pieces(CLUSTER)
    assert repository.read_wal(segment) == WAL


def data_packs(repository: Repository) -> list[str]:
    """The packs in which file content lies, as backups name them."""
    return packs_of(repository, BlobKind.DATA)


def packs_of(repository: Repository, wanted: BlobKind) -> list[str]:
    references = References(repository.files(repository.backups()[0]).nodes)
    found = (ref for manifest in repository.backups() for ref, kind in references.of(manifest.root) if kind is wanted)
    return sorted({pack_name(ref.pack) for ref in found})


def manifests(repository: Repository) -> list[str]:
    """All manifests."""
    return sorted(repository.store.list("backups/"))


def index_names(repository: Repository) -> list[str]:
    """All indexes."""
    return sorted(repository.store.list("indexes/"))


def end_names(repository: Repository) -> list[str]:
    """The ends of the leases that committed backups."""
    return [end_name(str(lease_named_by(name))) for name in manifests(repository)]
