"""Refreshes an index cache in a process of its own, which may kill itself on the way; prints how many it read.

    python refresh_and_die.py STORE CACHE KEY REPOSITORY CLUSTER [CALL NUMBER]

With a call, the process is gone by SIGKILL before the call of that number: `write` (a piece of run or file), `read`
(an index object), `rename` (before it), `renamed` (after it).
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safepoint.repository.packs import index_cache, index_file, index_rebuild, index_sort
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores import FolderStore


def dying(call: Callable[..., Any], number: int, *, after: bool = False) -> Callable[..., Any]:
    """The call, the last one of this process when it is the `number`th."""
    calls = itertools.count(1)

    def last(*arguments: Any, **named: Any) -> Any:
        is_last = next(calls) == number
        if is_last and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        found = call(*arguments, **named)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    return last


def prepare(call: str, number: int) -> None:
    """The process will die at that call."""
    if call == "write":
        last = dying(index_file.write_at, number)
        index_file.write_at = index_sort.write_at = last
    elif call == "read":
        index_rebuild.read_index = dying(index_rebuild.read_index, number)
    else:
        Path.replace = dying(Path.replace, number, after=call == "renamed")


def main() -> None:
    """As above."""
    store, cache, key, repository, cluster, *death = sys.argv[1:]
    if death:
        prepare(death[0], int(death[1]))
    keyring = Keyring(family=bytes(16), masters={1: bytes.fromhex(key)}, is_encrypted=True)
    refreshed = index_cache.IndexCache(Path(cache), repository, cluster).refresh(FolderStore(Path(store)), keyring)
    sys.stdout.write(f"{refreshed.read}\n")


if __name__ == "__main__":
    main()
