"""How many bytes objects take in the store: asked of each, or of a sample when there are many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safepoint import errors
from safepoint.repository.parallel import in_threads
from safepoint.stores.port import NotFound, Store

SAMPLE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSize:
    """Bytes of some objects. With `is_estimate` they are what `SAMPLE` of them, evenly spread, have on average."""

    bytes: int = 0
    is_estimate: bool = False

    def __add__(self, other: StoredSize) -> StoredSize:
        return StoredSize(bytes=self.bytes + other.bytes, is_estimate=self.is_estimate or other.is_estimate)


NOTHING_STORED = StoredSize()


def _size_of(store: Store, name: str) -> int | None:
    """Bytes of the object, None when it is gone, or is no regular file."""
    try:
        return store.size(name)
    except (NotFound, errors.Damaged):
        return None


def stored_size(store: Store, names: Sequence[str]) -> StoredSize:
    """Bytes of all these objects but for those that are gone or have none; `SAMPLE` requests at most."""
    step = max(1, -(-len(names) // SAMPLE))
    sizes = [size for size in in_threads(lambda name: _size_of(store, name), names[::step]) if size is not None]
    if step == 1:
        return StoredSize(bytes=sum(sizes))
    return StoredSize(bytes=round(sum(sizes) / max(len(sizes), 1) * len(names)), is_estimate=True)
