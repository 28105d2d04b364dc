"""A wrapper that makes the store under it fail at a chosen call: for tests and drills of everything above.

Counts calls from 1. `Fault` says what happens at the chosen one. After a kill or a power cut every later call fails
too: a dead process cleans nothing up.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from safepoint import errors
from safepoint.stores.port import Capabilities, Data, NotFound, Store


class Fault(Enum):
    """What happens at the chosen call."""

    FAIL = "it raises ST001 and does nothing; later calls work"
    LOST_ANSWER = "it takes effect, then raises ST001; later calls work"
    FULL = "a put raises ST002 and does nothing; later calls work"
    TORN = "a put stores the first half and then raises ST001, as no store should; later calls work"
    KILL = "the process dies before the call"
    KILL_AFTER = "the process dies after the call"
    POWER_CUT = "as KILL, and whatever was put but never made durable is gone"


class Killed(BaseException):
    """Stands for the death of the process: no handler of errors may catch it."""


_DEADLY = {Fault.KILL, Fault.KILL_AFTER, Fault.POWER_CUT}


class FaultyStore:
    """The store under it, until the chosen call. `calls` names every call so far, as in `put packs/…`."""

    def __init__(self, inner: Store, fault: Fault = Fault.FAIL, *, at: int = 0) -> None:
        self._inner = inner
        self._fault = fault
        self._at = at
        self._is_dead = False
        self._volatile: set[str] = set()
        self.calls: list[str] = []

    def __str__(self) -> str:
        return str(self._inner)

    @property
    def capabilities(self) -> Capabilities:
        """Those of the store under it."""
        return self._inner.capabilities

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        """As the port says, or the fault."""
        is_chosen = self._before(f"put {name}")
        if is_chosen and self._fault is Fault.FULL:
            raise errors.ST002.error("found 0 B free, expected more", changed="nothing was stored")
        torn = data[: len(data) // 2] if is_chosen and self._fault is Fault.TORN else data
        is_new = self._inner.put_if_absent(name, torn)
        if is_new and not durable:
            self._volatile.add(name)
        self._after(is_chosen=is_chosen)
        return is_new

    def get(self, name: str) -> bytes:
        """As the port says, or the fault."""
        is_chosen = self._before(f"get {name}")
        data = self._inner.get(name)
        self._after(is_chosen=is_chosen)
        return data

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """As the port says, or the fault."""
        is_chosen = self._before(f"get_range {name} {offset} {length}")
        data = self._inner.get_range(name, offset, length)
        self._after(is_chosen=is_chosen)
        return data

    def list(self, prefix: str) -> Iterator[str]:
        """As the port says, or the fault."""
        is_chosen = self._before(f"list {prefix}")
        names = tuple(self._inner.list(prefix))
        self._after(is_chosen=is_chosen)
        return iter(names)

    def size(self, name: str) -> int:
        """As the port says, or the fault."""
        is_chosen = self._before(f"size {name}")
        size = self._inner.size(name)
        self._after(is_chosen=is_chosen)
        return size

    def delete(self, name: str) -> None:
        """As the port says, or the fault."""
        is_chosen = self._before(f"delete {name}")
        self._inner.delete(name)
        self._volatile.discard(name)
        self._after(is_chosen=is_chosen)

    def barrier(self) -> None:
        """As the port says, or the fault."""
        is_chosen = self._before("barrier")
        self._inner.barrier()
        self._volatile.clear()
        self._after(is_chosen=is_chosen)

    def cut_power(self) -> None:
        """Dies now, and loses what was not durable."""
        self._is_dead = True
        for name in self._volatile:
            try:
                self._inner.delete(name)
            except NotFound:
                continue

    def _before(self, call: str) -> bool:
        if self._is_dead:
            raise Killed(call)
        self.calls.append(call)
        is_chosen = len(self.calls) == self._at
        if is_chosen and self._fault is Fault.FAIL:
            raise errors.ST001.error(f"found an injected fault at call {self._at} ({call}), expected an answer")
        if is_chosen and self._fault in {Fault.KILL, Fault.POWER_CUT}:
            self._die(call)
        return is_chosen

    def _after(self, *, is_chosen: bool) -> None:
        if not is_chosen:
            return
        if self._fault in _DEADLY:
            self._die(self.calls[-1])
        if self._fault in {Fault.LOST_ANSWER, Fault.TORN}:
            raise errors.ST001.error(f"found no answer to call {self._at} ({self.calls[-1]}), expected one")

    def _die(self, call: str) -> None:
        self._is_dead = True
        if self._fault is Fault.POWER_CUT:
            self.cut_power()
        raise Killed(call)
