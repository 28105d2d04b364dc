"""A wrapper that tries again what may succeed later: a bounded number of times, at random moments, within a budget.

An attempt that failed may have taken effect, its answer lost. So after a failure
- a put that finds its name taken reads what is there: the very bytes of this put are our own first attempt's (True),
  others are another writer's (False). Two writers that put the *same* bytes may therefore both get True. Sealed objects
  have random salts, and no two writers ever hold the same bytes.
- a delete that finds nothing has done its work.
- a listing begins anew, and what was given out already is left out.
A barrier is not tried again: what a failed sync dropped does not come back.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from safepoint import errors
from safepoint.errors import SafepointError
from safepoint.stores.port import Capabilities, Data, NotFound, Store

_Result = TypeVar("_Result")

RETRIED: Mapping[errors.Spec, bool] = {
    errors.ST001: True,  # overload, a broken or refused connection, no answer within the deadline
    errors.ST002: False,  # nobody makes room within seconds
    errors.ST003: False,  # the bucket or region stays wrong
    errors.ST004: False,  # so do credentials, rights and the clock; hammering locks accounts
    errors.ST005: False,  # the object stays too large
    errors.ST006: False,  # the process stays forked
}
"""Which errors of a store are worth another attempt. What is not in the table is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often, and for how long.

    At most `attempts`; before the n-th repetition a random pause of up to `first` x 2^(n-1) seconds, at most `longest`;
    and none that would begin more than `total` seconds after the first attempt.
    """

    attempts: int = 6
    first: float = 0.25
    longest: float = 10.0
    total: float = 120.0

    def pauses(self) -> Iterator[float]:
        """The longest pause before each repetition."""
        for number in range(self.attempts - 1):
            yield min(self.longest, self.first * 2**number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """Where pauses come from; replaced in tests. `draw(x)` is a number between 0 and x."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[float], float] = lambda longest: random.uniform(0, longest)  # noqa: S311 - spreads load, hides nothing


_PATIENCE = Patience()
_TIME = Time()


class RetryingStore:
    """The store under it, whose ST001 are tried again."""

    def __init__(self, inner: Store, patience: Patience = _PATIENCE, clock: Time = _TIME) -> None:
        self._inner = inner
        self._patience = patience
        self._clock = clock

    def __repr__(self) -> str:
        return repr(self._inner)

    def __str__(self) -> str:
        return str(self._inner)

    @property
    def capabilities(self) -> Capabilities:
        """Those of the store under it."""
        return self._inner.capabilities

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        """As the port says."""

        def put(is_repeated: bool) -> bool:
            is_new = self._inner.put_if_absent(name, data, durable=durable)
            return is_new or (is_repeated and self._holds(name, data))

        return self._repeat(put)

    def get(self, name: str) -> bytes:
        """As the port says."""
        return self._repeat(lambda _: self._inner.get(name))

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """As the port says."""
        return self._repeat(lambda _: self._inner.get_range(name, offset, length))

    def list(self, prefix: str) -> Iterator[str]:
        """As the port says."""
        last = ""
        names: Iterator[str] | None = None

        def following(is_repeated: bool) -> str | None:
            nonlocal names
            if names is None or is_repeated:
                names = (name for name in self._inner.list(prefix) if name > last)
            return next(names, None)

        while (name := self._repeat(following)) is not None:
            last = name
            yield name

    def size(self, name: str) -> int:
        """As the port says."""
        return self._repeat(lambda _: self._inner.size(name))

    def delete(self, name: str) -> None:
        """As the port says."""

        def delete(is_repeated: bool) -> None:
            try:
                self._inner.delete(name)
            except NotFound:
                if not is_repeated:
                    raise

        self._repeat(delete)

    def barrier(self) -> None:
        """As the port says; one attempt."""
        self._inner.barrier()

    def _holds(self, name: str, data: Data) -> bool:
        try:
            return self._inner.size(name) == len(data) and self._inner.get(name) == data
        except NotFound:
            return False

    def _repeat(self, call: Callable[[bool], _Result]) -> _Result:
        """What `call(is_repeated)` returns, or the last error it raised."""
        pauses = self._patience.pauses()
        end = self._clock.now() + self._patience.total
        is_repeated = False
        while True:
            try:
                return call(is_repeated)
            except SafepointError as error:
                longest = next(pauses, None)
                if longest is None or not RETRIED.get(error.spec, False):
                    raise
                pause = self._clock.draw(longest)
                if self._clock.now() + pause > end:
                    raise
            self._clock.sleep(pause)
            is_repeated = True
