"""A wrapper that counts the calls to a store and the bytes they move: what a plan estimates and a report tells."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from safepoint.stores.port import Capabilities, Data, Store


class Call(Enum):
    """The calls of the port that a store is asked by; a barrier is counted too, although cloud stores need none."""

    PUT = "put"
    GET = "get"
    GET_RANGE = "get_range"
    LIST = "list"
    SIZE = "size"
    DELETE = "delete"
    BARRIER = "barrier"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Calls by kind, failed ones included, and the bytes of the objects' data in those that succeeded."""

    calls: Mapping[Call, int] = field(default_factory=dict[Call, int])
    bytes_put: int = 0
    bytes_got: int = 0


class Meter:
    """Adds up, from several threads and for as many stores as it is given to."""

    def __init__(self) -> None:
        self._calls: Counter[Call] = Counter()
        self._put = 0
        self._got = 0
        self._lock = threading.Lock()

    def count(self, call: Call) -> None:
        """One call has begun."""
        with self._lock:
            self._calls[call] += 1

    def moved(self, *, put: int = 0, got: int = 0) -> None:
        """A call has moved bytes."""
        with self._lock:
            self._put += put
            self._got += got

    def usage(self) -> Usage:
        """All so far."""
        with self._lock:
            return Usage(calls=dict(self._calls), bytes_put=self._put, bytes_got=self._got)


class MeteredStore:
    """The store under it, counted by `meter`."""

    def __init__(self, inner: Store, meter: Meter) -> None:
        self._inner = inner
        self._meter = meter

    def __repr__(self) -> str:
        return repr(self._inner)

    def __str__(self) -> str:
        return str(self._inner)

    @property
    def capabilities(self) -> Capabilities:
        """Those of the store under it."""
        return self._inner.capabilities

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        """As the port says. What was refused because the name is taken has been sent all the same."""
        self._meter.count(Call.PUT)
        is_new = self._inner.put_if_absent(name, data, durable=durable)
        self._meter.moved(put=len(data))
        return is_new

    def get(self, name: str) -> bytes:
        """As the port says."""
        self._meter.count(Call.GET)
        data = self._inner.get(name)
        self._meter.moved(got=len(data))
        return data

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """As the port says."""
        self._meter.count(Call.GET_RANGE)
        data = self._inner.get_range(name, offset, length)
        self._meter.moved(got=len(data))
        return data

    def list(self, prefix: str) -> Iterator[str]:
        """As the port says."""
        self._meter.count(Call.LIST)
        return self._inner.list(prefix)

    def size(self, name: str) -> int:
        """As the port says."""
        self._meter.count(Call.SIZE)
        return self._inner.size(name)

    def delete(self, name: str) -> None:
        """As the port says."""
        self._meter.count(Call.DELETE)
        self._inner.delete(name)

    def barrier(self) -> None:
        """As the port says."""
        self._meter.count(Call.BARRIER)
        self._inner.barrier()
