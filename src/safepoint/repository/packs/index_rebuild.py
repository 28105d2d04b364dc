"""Making the index cache's file: index objects are read, their rows sorted beside those of the file before.

Memory is bounded by the sorter (index_sort.py) and by three index objects. The new file is written beside the old one
and takes its place by rename; killed anywhere before, the old one is untouched, and the next rebuild cuts the rest.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safepoint import errors
from safepoint.repository.packs.index import Index, IndexFacts, read_index
from safepoint.repository.packs.index_file import (
    BUCKETS,
    PACK,
    ROW,
    Binding,
    CacheFile,
    CacheFileWriter,
    Packs,
    Rows,
    Tail,
)
from safepoint.repository.packs.index_sort import RowSorter, rows_of, sort_rows
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores.port import Store

_READ_AHEAD = 2
_DROPPED = np.uint32(0xFFFFFFFF)


class Reading:
    """Index objects on their way into the sorter: which were read, and the packs they list."""

    def __init__(self, store: Store, keyring: Keyring, sorter: RowSorter, *, first_pack: int) -> None:
        self.store = store
        self.keyring = keyring
        self.sorter = sorter
        self.sources: list[str] = []
        self.packs: list[tuple[bytes, int]] = []
        self._first_pack = first_pack

    def read(self, names: Sequence[str]) -> dict[str, errors.SafepointError]:
        """Takes in the rows of each; those that cannot be read, and why. A few are in memory at a time."""
        broken: dict[str, errors.SafepointError] = {}
        ahead: deque[tuple[str, Future[Index]]] = deque()
        rest = iter(names)
        with ThreadPoolExecutor(_READ_AHEAD, thread_name_prefix="safepoint-index") as pool:
            try:
                ahead.extend((name, self._submit(pool, name)) for name in islice(rest, _READ_AHEAD))
                while ahead:
                    name, future = ahead.popleft()
                    try:
                        self._take(future.result())
                    except errors.Damaged as error:
                        broken[name] = error
                    ahead.extend((name, self._submit(pool, name)) for name in islice(rest, 1))
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return broken

    def _submit(self, pool: ThreadPoolExecutor, name: str) -> Future[Index]:
        return pool.submit(read_index, self.store, self.keyring, name)

    def _take(self, index: Index) -> None:
        for contents in index.packs:
            self.sorter.add(rows_of(contents, self._first_pack + len(self.packs)))
            self.packs.append((contents.pack, len(self.sources)))
        self.sources.append(index.name)


def rewritten(
    place: Path | None, binding: Binding, old: CacheFile | None, reading: Reading, wanted: Mapping[str, IndexFacts]
) -> CacheFile:
    """A file of the old one's rows and those just read, without those of indexes that are not wanted; OSError."""
    packs, numbers = _renumbered(old, reading, list(wanted))
    at_most = reading.sorter.row_count + (old.row_count if old else 0)
    with _new_file(place) as descriptor:
        writer = CacheFileWriter(descriptor, binding, at_most=at_most)
        reading.sorter.spill()
        for bucket in range(BUCKETS):
            parts = reading.sorter.bucket(bucket)
            writer.append(bucket, _merged([old.read_bucket(bucket), *parts] if old else parts, numbers))
        writer.finish(Tail(packs=packs, indexes=[[name, asdict(facts)] for name, facts in wanted.items()]))
        file = CacheFile(os.dup(descriptor), binding)
        if place is not None:
            _new_path(place).replace(place)  # killed before: the old file; after: the new one
        return file


def _renumbered(old: CacheFile | None, reading: Reading, wanted: list[str]) -> tuple[Packs, NDArray[np.uint32]]:
    """The packs of the new file, and the new number of each pack as old and reading count them; or _DROPPED."""
    number_of = {name: number for number, name in enumerate(wanted)}
    old_sources = [number_of.get(name, _DROPPED) for name in held_by(old)]
    new_sources = [number_of.get(name, _DROPPED) for name in reading.sources]
    packs = np.array([(pack, new_sources[source]) for pack, source in reading.packs], PACK)
    if old is not None and len(old.tail.packs):
        kept = old.tail.packs.copy()
        kept["source"] = np.array(old_sources, np.uint32)[kept["source"]]
        packs = np.concatenate([kept, packs])
    is_wanted = packs["source"] != _DROPPED
    return packs[is_wanted], np.where(is_wanted, np.cumsum(is_wanted) - 1, _DROPPED).astype(np.uint32)


def _merged(parts: Sequence[Rows], numbers: NDArray[np.uint32]) -> Rows:
    """The rows of one bucket, sorted, with new pack numbers, without those of dropped packs."""
    rows = np.concatenate([*parts, np.empty(0, ROW)])
    rows["pack"] = numbers[rows["pack"]]
    return sort_rows(rows[rows["pack"] != _DROPPED])


@contextlib.contextmanager
def _new_file(place: Path | None) -> Generator[int]:
    """A file to be written beside the place, or without a name. One that a killed process left there is cut."""
    if place is None:
        with tempfile.TemporaryFile() as file:
            yield file.fileno()
        return
    path = _new_path(place)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)  # still there only when something was raised


def _new_path(place: Path) -> Path:
    return place.with_suffix(".new")


def held_by(file: CacheFile | None) -> dict[str, IndexFacts]:
    """The indexes whose rows the file has, by number."""
    if file is None:
        return {}
    return {name: _facts_of(facts) for name, facts in file.tail.indexes}


def _facts_of(held: Mapping[str, Any]) -> IndexFacts:
    """The facts as they were before they were JSON."""
    facts: dict[str, Any] = {**held}
    for key in ("supersedes", "replaces"):
        facts[key] = tuple(facts.get(key, ()))
    return IndexFacts(**facts)
