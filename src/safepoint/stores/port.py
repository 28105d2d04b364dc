"""The port to a store: immutable objects under names, and the contract that every store keeps.

A store knows names and bytes, nothing of what they mean. `tests/contract` runs one suite over every implementation;
wrappers (faults, retry, metering) have the same shape. Errors other than `NotFound` are ST001 (not reachable, not
writable; the only one worth trying again), ST002 (full), ST003 (no such bucket), ST004 (no right), ST005 (too large)
and ST006 (used on both sides of a fork).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@-]{0,199}")
_LONGEST_NAME = 800


Data = bytes | memoryview
"""What is put. It need not be kept unchanged after the put has returned."""


class NotFound(Exception):
    """No object has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no object named {name}")
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a store can do, as far as anybody decides by it."""

    conditional_put: bool = True
    """Of two writers of one name exactly one wins. Without: one writer at a time, and `put_if_absent` looks first."""
    largest_object: int | None = None
    """Bytes; a larger put raises ST005 before anything is sent. None: whatever fits."""


class Store(Protocol):
    """Objects that are written once and conditionally, read whole or in ranges, listed and deleted.

    Names are relative paths as `check_name` accepts them. All methods may be called from several threads, and
    several processes may use one store at the same time. A call to a store behind a network ends by a deadline.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this store can do; known without asking it."""
        ...

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        """Stores `data` as `name` and returns True, or returns False when an object of that name is there.

        The object appears whole or not at all, and of two writers exactly one gets True (of two that put the *same*
        bytes, both may: see `stores/retry.py`). With `durable`, what has that name when the call returns (True or
        False) survives a power cut; without, it does after `barrier()`.
        When it raises, the object may or may not be there, but never in part.
        """
        ...

    def get(self, name: str) -> bytes:
        """The whole object; NotFound."""
        ...

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length) of the object, fewer where the object ends before; NotFound."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """All names that start with `prefix`, in the order of their bytes; what is being written is not listed.

        An object that is put or deleted meanwhile may be listed or not.
        """
        ...

    def size(self, name: str) -> int:
        """Bytes of the object; NotFound."""
        ...

    def delete(self, name: str) -> None:
        """Afterwards no object has this name; NotFound.

        Until `barrier()` a power cut may bring it back, also when NotFound was raised: somebody else's delete may not
        be durable yet.
        """
        ...

    def barrier(self) -> None:
        """Afterwards everything put through this store object survives a power cut, and what it deleted stays away.

        So does what a delete through it did not find.
        """
        ...


def check_name(name: str) -> str:
    """The name, when it is a relative path of plain components; ValueError for anything else."""
    if len(name) > _LONGEST_NAME or not all(_COMPONENT.fullmatch(part) for part in name.split("/")):
        raise ValueError(f"found {name!r}, expected a relative path of letters, digits and ._+=@-")
    return name


def check_prefix(prefix: str) -> str:
    """The prefix, when names can start with it; ValueError for anything else."""
    if prefix:
        check_name(prefix + "x")
    return prefix
