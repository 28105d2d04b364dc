"""A store whose indexes cannot come or go without a word in the journal: what it says is stored must be there."""

from __future__ import annotations

from collections.abc import Iterator

from safepoint.repository.commit.journal import Journal
from safepoint.repository.commit.journal_event import expired, index_put
from safepoint.repository.names import INDEXES_PREFIX
from safepoint.repository.repository import Repository
from safepoint.stores.port import Capabilities, Data, Store


class JournalledStore:
    """The store, with an entry after each index that is put and before each that is deleted."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal

    def __repr__(self) -> str:
        return repr(self._store)

    def __str__(self) -> str:
        return str(self._store)

    @property
    def capabilities(self) -> Capabilities:
        """Those of the store."""
        return self._store.capabilities

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        """Killed between both: the index is there, and the journal does not speak of it, which no audit minds."""
        is_new = self._store.put_if_absent(name, data, durable=durable)
        if is_new and name.startswith(INDEXES_PREFIX):
            self._journal.note([index_put(name)])
        return is_new

    def get(self, name: str) -> bytes:
        """As the store."""
        return self._store.get(name)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """As the store."""
        return self._store.get_range(name, offset, length)

    def list(self, prefix: str) -> Iterator[str]:
        """As the store."""
        return self._store.list(prefix)

    def size(self, name: str) -> int:
        """As the store."""
        return self._store.size(name)

    def delete(self, name: str) -> None:
        """Killed between both: the index is still there, superseded, and the next call deletes it."""
        if name.startswith(INDEXES_PREFIX):
            self._journal.append([expired(name)])
        self._store.delete(name)

    def barrier(self) -> None:
        """As the store."""
        self._store.barrier()


def with_journalled_indexes(repository: Repository) -> Repository:
    """The same repository, whose indexes do not come or go without a word in its journal; itself if it is that."""
    if isinstance(repository.store, JournalledStore):
        return repository
    return repository.through(JournalledStore(repository.store, repository.journal))
