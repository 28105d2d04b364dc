"""Many small requests at once: a store behind a network answers each late, but several at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

THREADS: int = 8

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_threads(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """What `function` returns for each item, in their order; the first error is raised when all calls have ended."""
    waiting = list(items)
    if len(waiting) <= 1 or THREADS == 1:
        return [function(item) for item in waiting]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - with logging: not for a single request

    with ThreadPoolExecutor(min(THREADS, len(waiting)), thread_name_prefix="requests") as pool:
        return list(pool.map(function, waiting))
