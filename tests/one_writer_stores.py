"""Stores without conditional put, as some servers are: of two who put one name at once, both are told that they did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from safepoint import errors
from safepoint.stores import Store
from safepoint.stores.port import Capabilities, Data, NotFound


def nothing(name: str) -> None:
    """What mostly happens between a look and a put."""


@dataclass(slots=True)
class OneWriterStore:
    """The store under it, whose names are written as `stores/_object_store.py` writes them then: look, put, read back.

    `between` is called with the name between look and put: whoever else writes, does so there.
    """

    inner: Store
    between: Callable[[str], None] = nothing

    def __str__(self) -> str:
        return str(self.inner)

    @property
    def capabilities(self) -> Capabilities:
        """No condition is kept."""
        return Capabilities(conditional_put=False, largest_object=self.inner.capabilities.largest_object)

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        """Overwrites what came after the look."""
        if name in self.inner.list(name):
            return False
        data = bytes(data)
        self.between(name)
        if not self.inner.put_if_absent(name, data, durable=durable):
            self._overwrite(name, data, durable=durable)
        if self.inner.get(name) != data:
            raise errors.ST001.error(f"cannot store {name}: found other bytes afterwards, expected those just put")
        return True

    def get(self, name: str) -> bytes:
        """As the store."""
        return self.inner.get(name)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """As the store."""
        return self.inner.get_range(name, offset, length)

    def list(self, prefix: str) -> Iterator[str]:
        """As the store."""
        return self.inner.list(prefix)

    def size(self, name: str) -> int:
        """As the store."""
        return self.inner.size(name)

    def delete(self, name: str) -> None:
        """As the store."""
        self.inner.delete(name)

    def barrier(self) -> None:
        """As the store."""
        self.inner.barrier()

    def _overwrite(self, name: str, data: bytes, *, durable: bool) -> None:
        try:
            self.inner.delete(name)
        except NotFound:
            return
        self.inner.put_if_absent(name, data, durable=durable)
