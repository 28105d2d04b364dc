"""A store with a guard before it, who sees every call and may refuse it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from safepoint import errors
from safepoint.stores import Store
from safepoint.stores.port import Capabilities, Data

Guard = Callable[[str, str], None]
"""Is told the call (`put`, `get_range`) and the name, before it takes effect; what it raises, the call raises."""


@dataclass(slots=True)
class GuardedStore:
    """The store under it, for whom `guard` lets pass; the guard may be exchanged."""

    inner: Store
    guard: Guard

    def __str__(self) -> str:
        return str(self.inner)

    @property
    def capabilities(self) -> Capabilities:
        """Those of the store under it."""
        return self.inner.capabilities

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        self.guard("put", name)
        return self.inner.put_if_absent(name, data, durable=durable)

    def get(self, name: str) -> bytes:
        self.guard("get", name)
        return self.inner.get(name)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        self.guard("get_range", name)
        return self.inner.get_range(name, offset, length)

    def list(self, prefix: str) -> Iterator[str]:
        self.guard("list", prefix)
        return self.inner.list(prefix)

    def size(self, name: str) -> int:
        self.guard("size", name)
        return self.inner.size(name)

    def delete(self, name: str) -> None:
        self.guard("delete", name)
        self.inner.delete(name)

    def barrier(self) -> None:
        self.guard("barrier", "")
        self.inner.barrier()


def let_pass(call: str, name: str) -> None:
    """Whatever it is."""


def let_readers_pass(call: str, name: str) -> None:
    """As the rights of an account that may read and list."""
    if call in {"put", "delete", "barrier"}:
        raise AssertionError(f"found {call} {name}, expected that nothing is written")


def let_nobody_pass(call: str, name: str) -> None:
    """As a network that is gone."""
    raise errors.ST001.error(f"found no way to {call} {name}, expected one")
