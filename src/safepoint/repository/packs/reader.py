"""Reading blobs: one, a part of one, or many in order, fetched by windows ahead of need and decoded by threads."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.packs.frames import FRAME_BYTES, Layout, frame_count, layout_of, table_bytes
from safepoint.repository.packs.pack import PackOpener, blob_id_key, broken_blob, open_pack, pack_name
from safepoint.repository.packs.windows import Upcoming, Window, Windows
from safepoint.repository.sealing import objects
from safepoint.repository.sealing.seal import BrokenSeal, Keyring, Kind
from safepoint.stores.port import NotFound, Store

_OPEN_PACKS = 256
_LARGEST_PACK = objects.largest_object(Kind.PACK)
_READ_WHOLE_BYTES = 128 * 1024  # a second request costs more than the rest of a blob of this size
_NEAR_BYTES = 1024 * 1024
_NEAR_KEPT_BYTES = 32 * _NEAR_BYTES
_BATCH_BYTES = 1024 * 1024
_BATCH_BLOBS = 256
_BATCHES_AHEAD = 2
_FETCHERS = 4
_WINDOWS_AHEAD = 4
_PLANNED_BATCHES = 64


@dataclass(slots=True)
class _Batch:
    """Blobs that one thread opens: about 1 MiB, so that handing them over costs little."""

    blobs: list[tuple[BlobRef, Window]] = field(default_factory=list[tuple[BlobRef, Window]])
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
        return self._wherever(ref, self._read_whole)

    def near_reader(self) -> Callable[[BlobRef], bytes]:
        """Reads as `read_blob` does, with 1 MiB around it: for small blobs of which neighbours will be asked for.

        One thread at a time may call what is returned; it keeps 32 MiB.
        """
        windows = Windows(self._fetch_now, most_bytes=_NEAR_KEPT_BYTES)

        def read(ref: BlobRef) -> bytes:
            place = self._place_of(ref)
            start = place.offset - place.offset % _NEAR_BYTES
            end = max(start + _NEAR_BYTES, place.offset + place.length)
            try:
                window = windows.find(place) or windows.open(place, end, start=start)
                windows.settle(window)
                return self._open_or_mend(place, window.cut(place))
            except NotFound:
                return self.read_blob(ref)

        return read

    def read_range(self, ref: BlobRef, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of the raw data, proven by the seals of their frames; one or two range reads.

        RP004, RP005, RP008.
        """
        if not 0 <= start <= stop <= ref.raw_length:
            raise ValueError(f"found the range {start}-{stop} of a blob of {ref.raw_length} bytes, expected one within")
        return self._wherever(ref, lambda place: self._read_part(place, start, stop)) if start < stop else b""

    def read_blobs(self, refs: Iterable[BlobRef]) -> Iterator[bytes]:
        """The raw data of each ref, in order, each id checked; about 200 MiB in memory at most.

        RP004, RP005, RP008.
        """
        with (
            ThreadPoolExecutor(_FETCHERS, thread_name_prefix="safepoint-fetch") as fetchers,
            ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="safepoint-read") as openers,
        ):
            try:
                yield from self._read_ahead(Upcoming(refs), fetchers, openers)
            finally:
                fetchers.shutdown(wait=False, cancel_futures=True)
                openers.shutdown(wait=False, cancel_futures=True)

    def _read_ahead(self, refs: Upcoming, fetchers: ThreadPoolExecutor, openers: ThreadPoolExecutor) -> Iterator[bytes]:
        windows = Windows(partial(fetchers.submit, self._fetch))
        batches = self._batches(refs, windows)
        planned: deque[_Batch] = deque()
        opening: deque[tuple[_Batch, Future[list[bytes]]]] = deque()
        most_opening = (os.cpu_count() or 1) + _BATCHES_AHEAD
        batch = next(batches, None)
        while batch is not None or planned or opening:
            while batch is not None and _has_room(planned):
                planned.append(batch)
                batch = next(batches, None)
            while planned and len(opening) < most_opening:
                first = planned.popleft()
                opening.append((first, openers.submit(self._open_batch, first.blobs)))
            opened, blobs = opening.popleft()
            yield from blobs.result()
            for window in opened.windows:
                windows.settle(window)

    def _batches(self, refs: Upcoming, windows: Windows) -> Iterator[_Batch]:
        batch = _Batch()
        for named in refs:
            ref = self._place_of(named)
            window = windows.find(ref)
            if window is None:
                end = windows.end_for(ref)
                window = windows.open(ref, refs.end_of_window(ref, end) if ref is named else end)
                batch.windows.append(window)
            batch.blobs.append((ref, window))
            batch.raw_bytes += ref.raw_length
            if batch.is_full:
                yield batch
                batch = _Batch()
        if batch.blobs:
            yield batch

    def _open_batch(self, blobs: list[tuple[BlobRef, Window]]) -> list[bytes]:
        try:
            return [self._open_or_mend(ref, window.cut(ref)) for ref, window in blobs]
        except NotFound:
            return list(self._open_elsewhere(ref for ref, _ in blobs))

    def _open_elsewhere(self, refs: Iterable[BlobRef]) -> Iterator[bytes]:
        """The blobs from where they lie now; RP004. Only those that were asked for before their pack was missed."""
        sequence, windows = Upcoming(map(self._place_of, refs)), Windows(self._fetch_now)
        try:
            for ref in sequence:
                window = windows.find(ref) or windows.open(ref, sequence.end_of_window(ref, windows.end_for(ref)))
                yield self._open_or_mend(ref, window.cut(ref))
        except NotFound as error:
            raise objects.missing(error.name) from None

    def _open_or_mend(self, ref: BlobRef, stored: memoryview) -> bytes:
        try:
            return self._open(ref, stored)
        except errors.Damaged as error:
            return self._mend(ref, self._read_whole, error)

    def _mend(self, ref: BlobRef, read: Callable[[BlobRef], bytes], error: errors.SafepointError) -> bytes:
        """What `read` reads in any other place that has the blob; raises the error when it opens in none."""
        for place in () if self._elsewhere is None else self._elsewhere(ref.id):
            if place.pack != ref.pack:
                with contextlib.suppress(NotFound, errors.Damaged):
                    return read(replace(place, id=ref.id, raw_length=ref.raw_length))
        raise error

    def _open(self, ref: BlobRef, stored: memoryview) -> bytes:
        try:
            return self._opener(ref.pack).open(ref, stored)
        except BrokenSeal:
            raise broken_blob(ref, len(stored)) from None

    def _read_whole(self, ref: BlobRef) -> bytes:
        return self._open(ref, memoryview(self._fetch(ref.pack, ref.offset, ref.length)))

    def _read_part(self, ref: BlobRef, start: int, stop: int) -> bytes:
        """Bytes [start, stop), which are some."""
        first, last = start // FRAME_BYTES, (stop - 1) // FRAME_BYTES
        try:
            layout, begin, stored = self._fetch_frames(ref, first, last)
            seal, ends = self._opener(ref.pack).seal, [end - begin for end in layout.ends]
            frames = [
                layout.open(seal, number, stored[ends[number] : ends[number + 1]]) for number in range(first, last + 1)
            ]
        except BrokenSeal:
            raise broken_blob(ref, ref.length) from None
        skipped = first * FRAME_BYTES
        raw = frames[0] if first == last else b"".join(frames)
        return raw[start - skipped : stop - skipped]

    def _fetch_frames(self, ref: BlobRef, first: int, last: int) -> tuple[Layout, int, memoryview]:
        """The blob's layout, and its stored bytes from the returned position on to the end of the last frame."""
        if last - first + 1 == frame_count(ref.raw_length) or ref.length <= _READ_WHOLE_BYTES:
            stored = memoryview(self._fetch(ref.pack, ref.offset, ref.length))
            return layout_of(ref, stored), 0, stored
        layout = layout_of(ref, self._fetch(ref.pack, ref.offset, table_bytes(ref.raw_length)))
        begin, end = layout.ends[first], layout.ends[last + 1]
        return layout, begin, memoryview(self._fetch(ref.pack, ref.offset + begin, end - begin))

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

    def _wherever(self, ref: BlobRef, read: Callable[[BlobRef], bytes]) -> bytes:
        """What `read` reads where the blob lies, or lies now; RP004."""
        with contextlib.suppress(NotFound):
            return self._read_or_mend(self._place_of(ref), read)
        try:
            return self._read_or_mend(self._place_of(ref), read)
        except NotFound as error:
            raise objects.missing(error.name) from None

    def _read_or_mend(self, place: BlobRef, read: Callable[[BlobRef], bytes]) -> bytes:
        try:
            return read(place)
        except errors.Damaged as error:
            return self._mend(place, read, error)

    def _place_of(self, ref: BlobRef) -> BlobRef:
        """Where it lies as far as is known: another place only when its own pack was seen to be gone."""
        if self._relocate is None or ref.pack not in self._gone:
            return ref
        place = self._relocate(ref.id)
        return ref if place is None else replace(place, id=ref.id, raw_length=ref.raw_length)  # its seal decides


def _has_room(planned: deque[_Batch]) -> bool:
    return len(planned) < _PLANNED_BATCHES and sum(len(batch.windows) for batch in planned) < _WINDOWS_AHEAD
