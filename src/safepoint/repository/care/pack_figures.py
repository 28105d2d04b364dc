"""How many packs there are, how large, and how much of them nobody needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.care.blob_tally import Tallied
from safepoint.repository.care.progress import Progress, Report
from safepoint.repository.care.rewrite import LEAST_NEEDED_SHARE
from safepoint.repository.commit.lease_objects import open_tags, tag_in
from safepoint.repository.commit.leases import list_packs
from safepoint.repository.names import pack_name
from safepoint.repository.packs.index import read_index, survey_indexes
from safepoint.repository.packs.pack import PackContents
from safepoint.repository.packs.replacements import read_replacements
from safepoint.repository.parallel import in_threads
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.seal import HEADER_BYTES
from safepoint.stores.port import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class PackFigures:
    """Packs in the store. What open leases have put and nobody refers to yet is neither needed nor garbage.

    `garbage_*` are the packs that no backup needs: a collection deletes them. `waste_bytes` lie unneeded in packs that
    are needed; so many of these, the `sparse_*`, are needed to less than half, and a repack frees what is unneeded in
    them. All five are None when it is unknown what backups need. `unlisted` packs stand in no index.
    """

    packs: int
    stored_bytes: int
    blobs: int
    unlisted: int
    needed_packs: int
    under_way_packs: int
    under_way_bytes: int
    garbage_packs: int | None
    garbage_bytes: int | None
    waste_bytes: int | None
    sparse_packs: int | None
    sparse_bytes: int | None


class Packs:
    """The packs that a repository stores, by number."""

    def __init__(self, repository: Repository) -> None:
        """Leases are listed before packs: a pack is then put under a lease that is seen, or that ended before."""
        self._repository = repository
        self._open_tags = open_tags(repository.store)
        self._replacements = read_replacements(repository.store, repository.keyring)
        self._listed = listed = list_packs(repository.store)
        self._numbers: dict[bytes, int] = {pack: number for number, pack in enumerate(sorted(listed))}
        self._sizes: dict[int, int] = {}
        self._blob_bytes: dict[int, int] = {}
        self._strange: list[str] = []
        self.blobs = 0
        self.unlisted = 0
        self.unknown = tuple(f"{name} does not open" for name in self._replacements.unreadable)

    def __len__(self) -> int:
        return len(self._numbers)

    def places(self, ref: BlobRef) -> Sequence[int]:
        """The numbers of the packs that are kept for this blob: one, more when it was moved twice, none when lost."""
        if ref.pack not in self._replacements.packs:
            return () if ref.pack not in self._listed else (self._numbers[ref.pack],)
        return [self._numbers[pack] for pack in self._replacements.places(ref, self._listed.__contains__)]

    def read_indexes(self, report: Report) -> None:
        """Sizes of all packs, from one index at a time."""
        store, keyring = self._repository.store, self._repository.keyring
        names = survey_indexes(store, keyring).current()
        broken: list[str] = []
        for done, name in enumerate(names, 1):
            try:
                for contents in read_index(store, keyring, name).packs:
                    self._take(contents)
            except errors.Damaged as error:
                broken.append(error.message)
            report(Progress(done=done, total=len(names), unit="indexes"))
        self.unknown = tuple(dict.fromkeys((*self.unknown, *broken)))
        self._ask_sizes()

    def sizes(self) -> NDArray[np.int64]:
        """By number; 0 for a pack that is not stored."""
        return self._by_number(self._sizes)

    def blob_bytes(self) -> NDArray[np.int64]:
        """By number, what blobs take of it; 0 for a pack that is not stored, or that no index lists."""
        return self._by_number(self._blob_bytes)

    def are_under_way(self) -> NDArray[np.bool_]:
        """By number, whether an open lease has put the pack."""
        return np.array([tag_in(pack) in self._open_tags for pack in self._numbers], np.bool_)

    def _take(self, contents: PackContents) -> None:
        if contents.pack not in self._listed:
            return
        number = self._numbers[contents.pack]
        if number not in self._sizes:
            self._sizes[number] = contents.stored_bytes
            self._blob_bytes[number] = contents.end - HEADER_BYTES
            self.blobs += len(contents)

    def _ask_sizes(self) -> None:
        """Of packs that no index lists: those are asked for in the store."""
        missing = [pack for pack in self._listed if self._numbers[pack] not in self._sizes]
        self.unlisted = len(missing)
        for pack, size in zip(missing, in_threads(self._size, missing), strict=True):
            self._sizes[self._numbers[pack]] = size
        self.unknown += tuple(sorted(self._strange))

    def _by_number(self, values: Mapping[int, int]) -> NDArray[np.int64]:
        found = np.zeros(len(self._numbers), np.int64)
        for number, value in values.items():
            found[number] = value
        return found

    def _size(self, pack: bytes) -> int:
        """0 when it is gone, and, which is told as unknown, when it is no regular file."""
        try:
            return self._repository.store.size(pack_name(pack))
        except NotFound:
            return 0
        except errors.Damaged as error:
            self._strange.append(error.message)
            return 0


def pack_figures(packs: Packs, tallied: Tallied, *, is_known: bool) -> PackFigures:
    """The figures; garbage and waste only when it is known what all backups need."""
    sizes = packs.sizes()
    is_needed = tallied.needed_bytes > 0
    is_under_way = packs.are_under_way() & ~is_needed
    waste = np.maximum(packs.blob_bytes() - tallied.needed_bytes, 0)
    is_sparse = is_needed & ~packs.are_under_way() & (tallied.needed_bytes < LEAST_NEEDED_SHARE * packs.blob_bytes())
    is_garbage = (sizes > 0) & ~is_needed & ~is_under_way
    return PackFigures(
        packs=int(np.count_nonzero(sizes)),
        stored_bytes=int(sizes.sum()),
        blobs=packs.blobs,
        unlisted=packs.unlisted,
        needed_packs=int(np.count_nonzero(is_needed)),
        under_way_packs=int(np.count_nonzero(is_under_way)),
        under_way_bytes=int(sizes[is_under_way].sum()),
        garbage_packs=int(np.count_nonzero(is_garbage)) if is_known else None,
        garbage_bytes=int(sizes[is_garbage].sum()) if is_known else None,
        waste_bytes=int(waste[is_needed].sum()) if is_known else None,
        sparse_packs=int(np.count_nonzero(is_sparse)) if is_known else None,
        sparse_bytes=int(waste[is_sparse].sum()) if is_known else None,
    )
