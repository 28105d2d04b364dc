"""Reading blobs: one, or many in order, fetched by windows ahead of need and opened by threads."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.names import pack_name
from safepoint.repository.packs.pack import PackOpener, blob_id_key, broken_blob, open_pack
from safepoint.repository.packs.windows import Upcoming, Wanted, Window, Windows
from safepoint.repository.sealing import objects
from safepoint.repository.sealing.seal import BrokenSeal, Keyring, Kind
from safepoint.stores.port import NotFound, Store

_OPEN_PACKS = 256
_LARGEST_PACK = objects.largest_object(Kind.PACK)
_NEAR_BYTES = 1024 * 1024
_NEAR_KEPT_BYTES = 32 * _NEAR_BYTES
_BATCH_BYTES = 1024 * 1024
_BATCH_BLOBS = 256
_BATCHES_AHEAD = 6
_FETCHERS = 4
_WINDOWS_AHEAD = 4
_PLANNED_BATCHES = 64


_Opened = bytes | memoryview | errors.SafepointError


@dataclass(slots=True)
class _Batch:
    """Blobs that one thread opens: about 1 MiB, so that handing them over costs little."""

    blobs: list[tuple[Wanted, Window]] = field(default_factory=list[tuple[Wanted, Window]])
    raw_bytes: int = 0
    windows: list[Window] = field(default_factory=list[Window])  # that were opened for them

    @property
    def is_full(self) -> bool:
        return self.raw_bytes >= _BATCH_BYTES or len(self.blobs) >= _BATCH_BLOBS or bool(self.windows)


class BlobReader:
    """Opens blobs of one repository. May be used from several threads.

    `relocate` tells where the blob of this id lies now, when the pack it was in is gone; `elsewhere` every place where
    it lies, when it does not open where it was. What opens nowhere is told with the place that was asked for.
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        *,
        relocate: Callable[[bytes], BlobRef | None] | None = None,
        elsewhere: Callable[[bytes], Iterable[BlobRef]] | None = None,
    ) -> None:
        self._store = store
        self._relocate = relocate
        self._elsewhere = elsewhere
        self._opener: Callable[[bytes], PackOpener] = lru_cache(_OPEN_PACKS)(
            partial(open_pack, keyring, blob_id_key(keyring))
        )
        self._gone: set[bytes] = set()

    @property
    def gone(self) -> AbstractSet[bytes]:
        """Packs that were looked for and not found."""
        return self._gone

    def read_blob(self, ref: BlobRef) -> bytes:
        """The raw data, its id checked; one range read. RP004, RP005, RP008."""
        with contextlib.suppress(NotFound):
            return self._read_or_mend(self._place_of(ref))
        try:
            return self._read_or_mend(self._place_of(ref))  # its pack is known to be gone now
        except NotFound as error:
            raise objects.missing(error.name) from None

    def near_reader(self) -> Callable[[BlobRef], bytes]:
        """Reads as `read_blob` does, with 1 MiB around it: for small blobs of which neighbours will be asked for.

        One thread at a time may call what is returned; it keeps 32 MiB.
        """
        windows = Windows(self._fetch_now, most_bytes=_NEAR_KEPT_BYTES)

        def read(ref: BlobRef) -> bytes:
            place = self._place_of(ref)
            try:
                window = windows.find(place) or _open_near(windows, place)
                windows.settle(window)
                return self._open_or_mend(place, window.cut(place))
            except NotFound:
                return self.read_blob(ref)

        return read

    def read_blobs(self, refs: Iterable[BlobRef]) -> Iterator[bytes]:
        """The raw data of each ref, in order, each id checked; about 200 MiB in memory at most.

        RP004, RP005, RP008.
        """
        for blob in self.read_wanted(map(Wanted, refs)):
            assert isinstance(blob, bytes)  # noqa: S101 - nobody named another place for it
            yield blob

    def read_wanted(self, wanted: Iterable[Wanted]) -> Iterator[bytes | memoryview]:
        """As `read_blobs`; those that are wanted in a certain place are there when it is given here."""
        with (
            ThreadPoolExecutor(_FETCHERS, thread_name_prefix="safepoint-fetch") as fetchers,
            ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="safepoint-read") as openers,
        ):
            try:
                yield from self._read_ahead(Upcoming(wanted), fetchers, openers)
            finally:
                fetchers.shutdown(wait=False, cancel_futures=True)
                openers.shutdown(wait=False, cancel_futures=True)

    def _read_ahead(
        self, upcoming: Upcoming, fetchers: ThreadPoolExecutor, openers: ThreadPoolExecutor
    ) -> Iterator[bytes | memoryview]:
        windows = Windows(partial(fetchers.submit, self._fetch))
        batches = self._batches(upcoming, windows)
        planned = _Planned()
        opening: deque[tuple[_Batch, Future[list[_Opened]]]] = deque()
        most_opening = (os.cpu_count() or 1) + _BATCHES_AHEAD
        batch = next(batches, None)
        while batch is not None or planned or opening:
            while batch is not None and planned.has_room:
                planned.add(batch)
                batch = next(batches, None)
            while planned and len(opening) < most_opening:
                first = planned.take()
                opening.append((first, openers.submit(self._open_batch, first.blobs)))
            opened, blobs = opening.popleft()
            for blob in blobs.result():
                if isinstance(blob, errors.SafepointError):
                    raise blob
                yield blob
            for window in opened.windows:
                windows.settle(window)

    def _batches(self, upcoming: Upcoming, windows: Windows) -> Iterator[_Batch]:
        batch = _Batch()
        for wanted in upcoming:
            ref = self._place_of(wanted.ref)
            window = windows.find(ref)
            if window is None:
                end = windows.end_for(ref)
                window = windows.open(ref, upcoming.end_of_window(ref, end) if ref is wanted.ref else end)
                batch.windows.append(window)
            batch.blobs.append((Wanted(ref, wanted.room), window))
            batch.raw_bytes += ref.raw_length
            if batch.is_full:
                yield batch
                batch = _Batch()
        if batch.blobs:
            yield batch

    def _open_batch(self, blobs: list[tuple[Wanted, Window]]) -> list[_Opened]:
        """The blobs, up to the first that does not open: what is wrong with that one stands in its place."""
        opened: list[_Opened] = []
        try:
            for wanted, window in blobs:
                opened.append(self._deliver(wanted, window.cut(wanted.ref)))
        except NotFound:
            return [*opened, *self._open_elsewhere([wanted for wanted, _ in blobs[len(opened) :]])]
        except errors.Damaged as error:
            opened.append(error)
        return opened

    def _open_elsewhere(self, blobs: Sequence[Wanted]) -> list[_Opened]:
        """The same from where they lie now; RP004 stands in the place of the first that is nowhere.

        Asked for before any pack was missed, they may lie in several that are gone, each of which is met here first.
        """
        opened: list[_Opened] = []
        while True:
            known = len(self._gone)
            try:
                for blob in self._open_in_place(blobs[len(opened) :]):
                    opened.append(blob)  # noqa: PERF402 - those before a pack that is missed are kept
            except NotFound as error:
                if len(self._gone) > known:
                    continue
                opened.append(objects.missing(error.name))
            except errors.Damaged as error:
                opened.append(error)
            return opened

    def _open_in_place(self, blobs: Sequence[Wanted]) -> Iterator[bytes | memoryview]:
        upcoming = Upcoming(Wanted(self._place_of(wanted.ref), wanted.room) for wanted in blobs)
        windows = Windows(self._fetch_now)
        for wanted in upcoming:
            ref = wanted.ref
            window = windows.find(ref) or windows.open(ref, upcoming.end_of_window(ref, windows.end_for(ref)))
            yield self._deliver(wanted, window.cut(ref))

    def _deliver(self, wanted: Wanted, stored: memoryview) -> bytes | memoryview:
        """The blob, opened where it is wanted, or else in memory of its own."""
        ref = wanted.ref
        if wanted.room is None:
            return self._open_or_mend(ref, stored)
        room = wanted.room()
        try:
            self._opener(ref.pack).open_into(ref, stored, room)
        except BrokenSeal:
            room[:] = self._mend(ref, broken_blob(ref, len(stored)))
        return room

    def _open_or_mend(self, ref: BlobRef, stored: memoryview) -> bytes:
        try:
            return self._open(ref, stored)
        except errors.Damaged as error:
            return self._mend(ref, error)

    def _mend(self, ref: BlobRef, error: errors.SafepointError) -> bytes:
        """The blob from any other place that has it; raises the error when it opens in none."""
        for place in () if self._elsewhere is None else self._elsewhere(ref.id):
            if place.pack != ref.pack:
                with contextlib.suppress(NotFound, errors.Damaged):
                    return self._read_whole(replace(place, id=ref.id, raw_length=ref.raw_length))
        raise error

    def _open(self, ref: BlobRef, stored: memoryview) -> bytes:
        try:
            return self._opener(ref.pack).open(ref, stored)
        except BrokenSeal:
            raise broken_blob(ref, len(stored)) from None

    def _read_whole(self, ref: BlobRef) -> bytes:
        return self._open(ref, memoryview(self._fetch(ref.pack, ref.offset, ref.length)))

    def _fetch(self, pack: bytes, start: int, length: int) -> bytes:
        try:
            return self._store.get_range(pack_name(pack), start, min(length, _LARGEST_PACK))
        except NotFound:
            self._gone.add(pack)
            raise

    def _fetch_now(self, pack: bytes, start: int, length: int) -> Future[bytes]:
        fetched: Future[bytes] = Future()
        fetched.set_result(self._fetch(pack, start, length))
        return fetched

    def _read_or_mend(self, place: BlobRef) -> bytes:
        try:
            return self._read_whole(place)
        except errors.Damaged as error:
            return self._mend(place, error)

    def _place_of(self, ref: BlobRef) -> BlobRef:
        """Where it lies as far as is known: another place only when its own pack was seen to be gone."""
        if self._relocate is None or ref.pack not in self._gone:
            return ref
        place = self._relocate(ref.id)
        return ref if place is None else replace(place, id=ref.id, raw_length=ref.raw_length)  # its seal decides


def _open_near(windows: Windows, place: BlobRef) -> Window:
    """What lies around the blob; from the blob on when a window ends within it, which has what is before."""
    is_next = windows.before(place) is not None
    start = place.offset if is_next else place.offset - place.offset % _NEAR_BYTES
    return windows.open(place, max(start + _NEAR_BYTES, place.offset + place.length), start=start)


class _Planned:
    """Batches that nobody opens yet, of bounded number and with bounded windows."""

    def __init__(self) -> None:
        self._batches: deque[_Batch] = deque()
        self._windows = 0

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def has_room(self) -> bool:
        return len(self._batches) < _PLANNED_BATCHES and self._windows < _WINDOWS_AHEAD

    def add(self, batch: _Batch) -> None:
        self._batches.append(batch)
        self._windows += len(batch.windows)

    def take(self) -> _Batch:
        batch = self._batches.popleft()
        self._windows -= len(batch.windows)
        return batch
