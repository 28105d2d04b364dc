"""Where blobs lie, for one repository and cluster: a disposable cache of its index objects on this machine's disk.

It answers from sealed indexes that were read once. What it says is never the last word: the same blob may lie in
several packs, and packs may be gone; callers look whether the pack is there and usable. What it does not know may be
in an index that could not be read (`Refreshed.damaged`), or that was written since the last refresh.

The file (index_file.py) is replaced by rename and never changed: killed anywhere, the old or the new one is there.
One process at a time rebuilds, held apart by flock; readers need no lock. A file that is damaged, cut short, or of
another repository, cluster, key or version is made anew from the store, also when a look-up is the first to see it.
Where the directory cannot be written, or another process holds it for more than a few seconds (it may have been
stopped), the file is made without a name among the system's temporary files.

Blob ids are keyed digests: they tell nothing about the data to who lacks the key, but which blobs two caches share is
nobody's business. So directories have mode 0700 and files 0600, and the names of files do not say the cluster's.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from blake3 import blake3

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.local_lock import locked
from safepoint.repository.packs.index import EVERY_CLUSTER, IndexFacts, Survey, survey_indexes
from safepoint.repository.packs.index_file import Binding, CacheFile, DamagedCache
from safepoint.repository.packs.index_rebuild import Reading, held_by, rewritten
from safepoint.repository.packs.index_sort import RowSorter
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores.port import Store

_Found = TypeVar("_Found")
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """What a refresh found and did. `damaged` are the indexes whose blobs the cache cannot know, and why."""

    indexes: int
    read: int
    dropped: int
    places: int
    damaged: Mapping[str, errors.SafepointError] = field(default_factory=dict[str, errors.SafepointError])


class IndexCache:
    """Look-ups from any number of threads. `refresh` comes first; before it, a look-up raises ValueError."""

    def __init__(self, directory: Path, repository_id: str, cluster: str) -> None:
        self._cluster = cluster
        self._binding = blake3(f"{repository_id}\0{cluster}".encode()).digest()
        self._path = directory / f"index-{self._binding.hex()[:16]}"
        self._lock = threading.RLock()
        self._file: CacheFile | None = None
        self._distrusted: set[tuple[int, int, int]] = set()
        self._facts: dict[str, IndexFacts] = {}
        self._again: Callable[[], object] | None = None

    def __repr__(self) -> str:
        return f"IndexCache({str(self._path)!r})"

    def refresh(self, store: Store, keyring: Keyring) -> Refreshed:
        """Afterwards the cache holds what the current indexes of its cluster list, as far as they can be read.

        Reads the indexes that it does not hold yet, and rewrites its file when that changes anything. Errors of the
        store (ST…) leave it as it was; CF007 when the file cannot be written although its directory can.
        """
        self._again = lambda: self.refresh(store, keyring)
        binding = Binding(digest=self._binding, key=keyring.derive("index cache"))
        with self._lock, self._held_place() as place:
            return _until_sound(lambda: self._update(store, keyring, binding, place), self._distrust)

    def lookup_all(self, identity: bytes) -> tuple[BlobRef, ...]:
        """Every known place of the blob, each once."""
        try:
            return self._open().lookup_all(identity)
        except DamagedCache:
            return self._after_repair(lambda: self._open().lookup_all(identity))

    def _open(self) -> CacheFile:
        if self._file is None:
            raise ValueError("found a cache that was not refreshed, expected refresh() before the first look-up")
        return self._file

    def _after_repair(self, look_up: Callable[[], _Found]) -> _Found:
        """The answer from a file made anew."""
        with self._lock:
            return _until_sound(look_up, self._repair)

    def _distrust(self) -> None:
        if self._file is not None:
            self._distrusted.add(self._file.identity)
            self._file = None

    def _repair(self) -> None:
        self._distrust()
        if self._again is not None:
            self._again()

    @contextlib.contextmanager
    def _held_place(self) -> Generator[Path | None]:
        """The file's path while nobody else writes it, or None where it cannot be written, or not soon."""
        with contextlib.ExitStack() as stack:
            place: Path | None = self._path
            try:
                _make_private(self._path.parent)
                stack.enter_context(locked(self._path.with_suffix(".lock")))
            except OSError:
                place = None
            yield place

    def _update(self, store: Store, keyring: Keyring, binding: Binding, place: Path | None) -> Refreshed:
        old = self._file = self._newest_file(binding, place)
        held = held_by(old)
        with _reported(self._path), RowSorter(place and place.parent) as sorter:
            reading = Reading(store, keyring, sorter, first_pack=len(old.tail.packs) if old else 0)
            survey = self._read_missing(reading, survey_indexes(store, keyring, self._facts | held), held)
            self._facts = dict(survey.facts)
            wanted = {name: survey.facts[name] for name in self._ours(survey)}
            if old is None or reading.sources or wanted.keys() != held.keys():
                self._file = rewritten(place, binding, old, reading, wanted)
            return Refreshed(
                indexes=len(wanted),
                read=len(reading.sources),
                dropped=len(held.keys() - wanted.keys()),
                places=self._open().row_count,
                damaged={name: survey.damaged[name] for name in survey.current() if name in survey.damaged},
            )

    def _newest_file(self, binding: Binding, place: Path | None) -> CacheFile | None:
        """The file at its path, or the one without a name that this object made because it could not write there."""
        if place is None and self._file is not None:
            return self._file
        with contextlib.suppress(OSError, DamagedCache):
            file = CacheFile(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC), binding)
            if self._file is not None and self._file.identity == file.identity:
                return self._file
            return file if file.identity not in self._distrusted else None
        return None

    def _read_missing(self, reading: Reading, survey: Survey, held: Mapping[str, IndexFacts]) -> Survey:
        """Reads until every current index is held, read or found damaged. Of a damaged one nothing counts.

        So where an index that supersedes others is damaged and they are still there, they take its place.
        """
        broken: dict[str, errors.SafepointError] = {}
        while missing := sorted(self._ours(survey.without(broken)) - held.keys() - set(reading.sources)):
            found = reading.read(missing)
            broken |= found
            if any(error.spec is errors.RP004 for error in found.values()):
                survey = survey_indexes(reading.store, reading.keyring, survey.facts)
        return survey.without(broken)

    def _ours(self, survey: Survey) -> set[str]:
        """The current indexes that can be read and say that they are of this cluster."""
        ours = {self._cluster, EVERY_CLUSTER}
        return {name for name in survey.current() if name in survey.facts and survey.facts[name].cluster in ours}


def _until_sound(action: Callable[[], _Found], mend: Callable[[], None]) -> _Found:
    """What the action returns, once it does not come upon a damaged file; CF007 when it always does."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(DamagedCache):
            return action()
        mend()
    raise errors.CF007.error(
        f"found the index cache damaged {_ATTEMPTS} times in a row, expected what was just written",
        hints=[errors.ask("is the disk of the cache failing?"), errors.run("set XDG_CACHE_HOME to another disk")],
    )


@contextlib.contextmanager
def _reported(path: Path) -> Generator[None]:
    """An OSError becomes CF007."""
    try:
        yield
    except OSError as error:
        raise errors.CF007.error(
            f"found {error.strerror} while writing the index cache, expected to be able to write {path}",
            hints=[
                errors.ask("is the disk full? The cache takes 48 bytes a blob, twice that while it is made"),
                errors.run("set XDG_CACHE_HOME to another disk"),
            ],
        ) from error


def _make_private(directory: Path) -> None:
    """The directory and its missing ancestors are there, the new ones for this user alone; OSError."""
    if not directory.parent.is_dir():
        _make_private(directory.parent)
    directory.mkdir(0o700, exist_ok=True)
