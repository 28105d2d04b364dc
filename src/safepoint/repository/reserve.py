"""Room for care on a disk that is full: what frees space needs a little of it first.

    tmp/reserve/<2 digits>    4 KiB each that mean nothing; deleted when an expiry or a collection finds no room

They are put again afterwards, as many as there is room for. Several, since a file system also runs out of names.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from typing import TypeVar

from safepoint import errors
from safepoint.repository.names import RESERVE_PREFIX
from safepoint.repository.parallel import in_threads
from safepoint.stores.port import NotFound, Store

_PIECES = 16
_PIECE_BYTES = 4096
_KIBIBYTE = 1024

_Result = TypeVar("_Result")


def with_room(store: Store, action: Callable[[], _Result], narrow: Callable[[], _Result] | None = None) -> _Result:
    """What the action returns, which may be done twice: once more, or `narrow` with less room, behind the reserve.

    Afterwards there is a reserve, if there is room for one. ST002 when it does not suffice.
    """
    try:
        result = action()
    except errors.SafepointError as error:
        if error.spec is not errors.ST002:
            raise
        if not _release(store):
            raise _without_reserve(error) from error
        try:
            result = (narrow or action)()
        finally:
            keep_reserve(store)
        return result
    keep_reserve(store)
    return result


def keep_reserve(store: Store) -> None:
    """There is a reserve, as far as there is room. Of bytes that no file system makes smaller."""
    with contextlib.suppress(errors.SafepointError):
        missing = {f"{RESERVE_PREFIX}{number:02}" for number in range(_PIECES)} - {*store.list(RESERVE_PREFIX)}
        in_threads(lambda name: store.put_if_absent(name, secrets.token_bytes(_PIECE_BYTES)), sorted(missing))


def _release(store: Store) -> bool:
    """Whether there was any. Killed here: the reserve is gone, and the same command may find the room."""
    names = list(store.list(RESERVE_PREFIX))
    for name in names:
        with contextlib.suppress(NotFound):
            store.delete(name)
    store.barrier()
    return bool(names)


def _without_reserve(error: errors.SafepointError) -> errors.SafepointError:
    few = f"{_PIECES * _PIECE_BYTES // _KIBIBYTE} KiB suffice: move a file that is not the repository's off this disk"
    return error.spec.error(
        error.message, changed=error.changed, hints=[errors.run(f"{few}, then repeat"), *error.hints]
    )
