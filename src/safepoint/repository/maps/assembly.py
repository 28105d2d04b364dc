"""Putting pieces of files together from blobs that threads open ahead.

The planner runs ahead of the consumer: it decides which blobs are fetched, which are opened in the place where the
piece needs them, which are kept because a later piece may need them (patches hold pages of many places), and when they
are let go. The consumer obeys, so that both agree without speaking. What was let go too early is fetched again: slower,
never wrong.
"""

from __future__ import annotations

import mmap
import threading
from collections import OrderedDict, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial

from safepoint import errors
from safepoint.buffers import Buffers
from safepoint.model.backup import BlobRef
from safepoint.repository.maps.listing import Entry
from safepoint.repository.packs.reader import BlobReader
from safepoint.repository.packs.windows import Wanted

PIECE_BYTES = 4 * 1024 * 1024
"""The longest piece."""

KEPT_PIECES = 4
"""How many pieces a consumer may look at, so that some can be written while it asks for more."""

_HELD_BYTES = 32 * 1024 * 1024
_ROOMY_BYTES = 256 * 1024  # smaller pieces are not worth a place of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Bytes [start, stop) of an opened blob."""

    blob: BlobRef
    start: int
    stop: int

    @property
    def is_whole(self) -> bool:
        """The blob and nothing else."""
        return self.stop - self.start == self.blob.raw_length


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes of a file from `offset`, at most PIECE_BYTES: its parts, one after another."""

    entry: Entry
    offset: int
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """How many bytes."""
        return sum(part.stop - part.start for part in self.parts)


class _Room:
    """Where a piece comes together: memory that is taken when the first of its blobs is opened."""

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._lock = threading.Lock()
        self._buffer: mmap.mmap | None = None

    def view(self, start: int, stop: int) -> memoryview:
        """Bytes [start, stop) of it. Any thread may ask."""
        with self._lock:
            if self._buffer is None:
                self._buffer = self._buffers.take()
            return memoryview(self._buffer)[start:stop]

    def give_back(self) -> None:
        """Another piece may come together there."""
        if self._buffer is not None:
            self._buffers.give_back(self._buffer)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A piece, the blobs that arrive for it, in order, those of them to be held, and those to be let go afterwards."""

    piece: Piece
    room: _Room | None
    arriving: int
    held: tuple[tuple[int, bytes], ...]  # the number among those that arrive, and the id
    let_go: tuple[bytes, ...]


def assembled(blobs: BlobReader, pieces: Iterator[Piece]) -> Iterator[tuple[Entry, int, bytes | memoryview]]:
    """The bytes of the pieces, in order, as (file, offset, bytes); RP004, RP005.

    The last KEPT_PIECES are good until the next is asked for: then the memory of the oldest serves again.
    """
    steps: deque[_Step] = deque()
    arriving = _Arriving(blobs.read_wanted(_Planner(steps).wanted(pieces)), steps)
    held: dict[bytes, bytes | memoryview] = {}
    lent = _Lent()
    while steps or arriving.has_more() or steps:
        step = steps[0]
        arrived = [arriving.take() for _ in range(step.arriving)]
        held.update((identity, arrived[number]) for number, identity in step.held)
        steps.popleft()
        content = _content(step, held)
        for identity in step.let_go:
            del held[identity]
        lent.add(step.room, content)
        yield step.piece.entry, step.piece.offset, content
        lent.take_back()


class _Arriving:
    """The blobs as they arrive; damage is reported with the file whose turn it is."""

    def __init__(self, blobs: Iterator[bytes | memoryview], steps: deque[_Step]) -> None:
        self._blobs = blobs
        self._steps = steps
        self._first: bytes | memoryview | None = None

    def has_more(self) -> bool:
        """Whether another blob arrives: asking makes the planner go on."""
        if self._first is None:
            self._first = self._next()
        return self._first is not None

    def take(self) -> bytes | memoryview:
        """The next blob."""
        found, self._first = self._next() if self._first is None else self._first, None
        assert found is not None  # noqa: S101 - the planner yields what it promises
        return found

    def _next(self) -> bytes | memoryview | None:
        try:
            return next(self._blobs, None)
        except errors.Damaged as error:
            step = next((step for step in self._steps if step.arriving), None)
            if step is None:
                raise
            path = step.piece.entry.path
            raise error.spec.error(f"cannot read {path!r}: {error.message}", hints=error.hints) from error


_Used = dict[bytes, tuple[BlobRef, int]]


class _Planner:
    """Appends a step for each piece before it yields the blobs that are to arrive for it."""

    def __init__(self, steps: deque[_Step]) -> None:
        self._steps = steps
        self._buffers = Buffers(PIECE_BYTES)
        self._held: OrderedDict[bytes, int] = OrderedDict()
        self._held_bytes = 0

    def wanted(self, pieces: Iterator[Piece]) -> Iterator[Wanted]:
        """The blobs to be read, in order."""
        for piece in pieces:
            room = _Room(self._buffers) if piece.size >= _ROOMY_BYTES else None
            used = _used(piece)
            in_place = () if room is None else self._in_place(piece, used, room)
            arriving = [*in_place, *(Wanted(ref) for ref, _ in used.values() if ref.id not in self._held)]
            numbers = tuple((n, wanted.ref.id) for n, wanted in enumerate(arriving) if wanted.room is None)
            let_go = self._hold(used.values())
            self._steps.append(_Step(piece=piece, room=room, arriving=len(arriving), held=numbers, let_go=let_go))
            yield from arriving

    def _in_place(self, piece: Piece, used: _Used, room: _Room) -> list[Wanted]:
        """The blobs that the piece needs whole and once, taken out of `used`: they are opened where they belong."""
        found: list[Wanted] = []
        start = 0
        for part in piece.parts:
            stop = start + part.stop - part.start
            blob = part.blob
            if part.is_whole and used[blob.id][1] == blob.raw_length and blob.id not in self._held:
                found.append(Wanted(blob, partial(room.view, start, stop)))
                del used[blob.id]
            start = stop
        return found

    def _hold(self, used: Collection[tuple[BlobRef, int]]) -> tuple[bytes, ...]:
        """These blobs are held; the ids of those that are let go for it, or because they are used up."""
        for ref, count in used:
            _require_size(ref, self._held.get(ref.id, ref.raw_length))
            self._held_bytes += ref.raw_length - self._held.pop(ref.id, 0)
            self._held[ref.id] = ref.raw_length
            # What was mostly used up here is hardly needed again: it goes first.
            self._held.move_to_end(ref.id, last=2 * count < ref.raw_length)
        used_up = {ref.id for ref, count in used if 2 * count >= ref.raw_length}
        let_go: list[bytes] = []
        while self._held and (self._held_bytes > _HELD_BYTES or next(iter(self._held)) in used_up):
            identity, size = self._held.popitem(last=False)
            self._held_bytes -= size
            let_go.append(identity)
        return tuple(let_go)


def _used(piece: Piece) -> _Used:
    """The blobs of the piece by their ids, in the order of first use, and how many bytes of each it uses."""
    used: _Used = {}
    for part in piece.parts:
        blob, count = part.blob, part.stop - part.start
        known = used.get(blob.id)
        if known is None:
            used[blob.id] = (blob, count)
        else:
            _require_size(blob, known[0].raw_length)
            used[blob.id] = (blob, known[1] + count)
    return used


def _require_size(blob: BlobRef, known: int) -> None:
    """RP005 unless the reference says of the blob's length what another one has said."""
    if blob.raw_length != known:
        raise errors.RP005.error(
            f"found blob {blob.id.hex()[:16]} referred to as of {blob.raw_length} bytes, expected {known} as elsewhere"
        )


class _Lent:
    """The pieces that the consumer may still look at."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[_Room | None, bytes | memoryview]] = deque()

    def add(self, room: _Room | None, content: bytes | memoryview) -> None:
        """The consumer has this piece, too."""
        self._pieces.append((room, content))

    def take_back(self) -> None:
        """The consumer asks for another one."""
        if len(self._pieces) < KEPT_PIECES:
            return
        room, content = self._pieces.popleft()
        if room is not None and isinstance(content, memoryview):
            content.release()
            room.give_back()


def _content(step: _Step, held: dict[bytes, bytes | memoryview]) -> bytes | memoryview:
    piece, room = step.piece, step.room
    if room is None:
        views = [memoryview(held[part.blob.id])[part.start : part.stop] for part in piece.parts]
        return views[0] if len(views) == 1 else b"".join(views)
    whole = room.view(0, piece.size)
    start = 0
    for part in piece.parts:
        stop = start + part.stop - part.start
        blob = held.get(part.blob.id)
        if blob is not None:  # else it was opened in its place
            whole[start:stop] = memoryview(blob)[part.start : part.stop]
        start = stop
    return whole
