"""Where blobs lie now whose packs were rewritten since they were referred to; asked when a pack is gone or broken."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from safepoint.model.backup import BlobRef
from safepoint.repository.names import pack_name
from safepoint.repository.packs.index import survey_indexes
from safepoint.repository.packs.index_cache import IndexCache
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores.port import NotFound, Store

_PAUSE_SECONDS = 0.2  # a lost pack asks for thousands of blobs: each must not list the indexes anew


class Relocation:
    """Looks blobs up in the indexes of all clusters. May be used from several threads.

    What it does not know, or finds gone, it looks for once more in what the indexes say by then, but not all the time.
    """

    def __init__(self, store: Store, keyring: Keyring, directory: Path, repository_id: str) -> None:
        self._store = store
        self._keyring = keyring
        self._directory = directory
        self._repository_id = repository_id
        self._caches: list[IndexCache] | None = None
        self._exists: dict[bytes, bool] = {}
        self._surveyed_at = 0.0
        self._lock = threading.Lock()

    def find_all(self, identity: bytes, gone: AbstractSet[bytes] = frozenset()) -> tuple[BlobRef, ...]:
        """Every place of the blob in a pack that is there; not in those that the caller found `gone` meanwhile."""
        with self._lock:
            found = self._there(identity, gone)
            if not found and time.monotonic() - self._surveyed_at >= _PAUSE_SECONDS:
                self._caches = None
                self._exists.clear()
                found = self._there(identity, gone)
        return found

    def _there(self, identity: bytes, gone: AbstractSet[bytes]) -> tuple[BlobRef, ...]:
        return tuple(ref for ref in self._known(identity) if ref.pack not in gone)

    def _known(self, identity: bytes) -> Iterator[BlobRef]:
        seen: set[bytes] = set()
        for cache in self._opened():
            for ref in cache.lookup_all(identity):
                if ref.pack not in seen and self._is_there(ref.pack):
                    seen.add(ref.pack)
                    yield ref

    def _opened(self) -> list[IndexCache]:
        if self._caches is None:
            facts = survey_indexes(self._store, self._keyring).facts.values()
            clusters = sorted({fact.cluster for fact in facts})
            self._caches = [IndexCache(self._directory, self._repository_id, cluster) for cluster in clusters]
            for cache in self._caches:
                cache.refresh(self._store, self._keyring)
            self._surveyed_at = time.monotonic()
        return self._caches

    def _is_there(self, pack: bytes) -> bool:
        if pack not in self._exists:
            try:
                self._store.size(pack_name(pack))
                self._exists[pack] = True
            except NotFound:
                self._exists[pack] = False
        return self._exists[pack]
