"""Reading blobs: one by one, or many in order, where neighbours share a range read and threads decode."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from safepoint.model.backup import BlobRef
from safepoint.repository.packs.pack import open_pack, pack_name
from safepoint.repository.sealing import objects
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores.port import NotFound, Store

_GROUP_BYTES = 4 * 1024 * 1024
_GROUP_BLOBS = 256
_GROUPS_AHEAD = 2


class BlobReader:
    """Opens blobs of one repository. May be used from several threads."""

    def __init__(self, store: Store, keyring: Keyring, id_key: bytes) -> None:
        self._store = store
        self._keyring = keyring
        self._id_key = id_key

    def read_blob(self, ref: BlobRef) -> bytes:
        """The raw data; one range read. RP004, RP005."""
        return self._read_group((ref,))[0]

    def read_blobs(self, refs: Iterable[BlobRef]) -> Iterator[bytes]:
        """The raw data of each ref, in order; about `4 MiB * (cores + 3)` in memory at most. RP004, RP005."""
        groups = neighbours(refs)
        threads = os.cpu_count() or 1
        ahead: deque[Future[list[bytes]]] = deque()
        with ThreadPoolExecutor(threads, thread_name_prefix="safepoint-read") as pool:
            try:
                ahead.extend(pool.submit(self._read_group, group) for group in islice(groups, threads + _GROUPS_AHEAD))
                while ahead:
                    blobs = ahead.popleft().result()
                    ahead.extend(pool.submit(self._read_group, group) for group in islice(groups, 1))
                    yield from blobs
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _read_group(self, group: tuple[BlobRef, ...]) -> list[bytes]:
        first, last = group[0], group[-1]
        length = last.offset + last.length - first.offset
        name = pack_name(first.pack)
        try:
            data = memoryview(self._store.get_range(name, first.offset, length))
        except NotFound:
            raise objects.missing(name) from None
        opener = open_pack(self._keyring, self._id_key, first.pack)
        pieces = (data[ref.offset - first.offset :][: ref.length] for ref in group)
        return [opener.open(ref, piece) for ref, piece in zip(group, pieces, strict=True)]


def neighbours(refs: Iterable[BlobRef]) -> Iterator[tuple[BlobRef, ...]]:
    """The refs in order, cut into groups that lie side by side in one pack and open to about 4 MiB."""
    group: list[BlobRef] = []
    for ref in refs:
        if group and not (_follows(group[-1], ref) and _has_room(group, ref)):
            yield tuple(group)
            group = []
        group.append(ref)
    if group:
        yield tuple(group)


def _follows(before: BlobRef, ref: BlobRef) -> bool:
    return ref.pack == before.pack and ref.offset == before.offset + before.length


def _has_room(group: list[BlobRef], ref: BlobRef) -> bool:
    return len(group) < _GROUP_BLOBS and sum(other.raw_length for other in group) + ref.raw_length <= _GROUP_BYTES
