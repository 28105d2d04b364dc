"""Putting pieces of files together from blobs that threads open ahead.

The planner runs ahead of the consumer: it decides which blobs are fetched, which are kept because a later piece may
need them (patches hold pages of many places), and when they are let go. The consumer obeys, so that both agree without
speaking. What was let go too early is fetched again: slower, never wrong.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.maps.listing import Entry
from safepoint.repository.packs.reader import BlobReader

_HELD_BYTES = 32 * 1024 * 1024
_DIRECT_BYTES = 64 * 1024  # parts of this size on average are handed out as they are


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Bytes [start, stop) of an opened blob."""

    blob: BlobRef
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes of a file from `offset`: its parts, one after another."""

    entry: Entry
    offset: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A piece, the blobs to be fetched for it, in order, those to be held, and those to be let go afterwards."""

    piece: Piece
    fetched: tuple[bytes, ...]
    let_go: tuple[bytes, ...]


def assembled(blobs: BlobReader, pieces: Iterator[Piece]) -> Iterator[tuple[Entry, int, bytes | memoryview]]:
    """The bytes of the pieces, in order, as (file, offset, bytes); RP004, RP005."""
    steps: deque[_Step] = deque()
    arriving = _Arriving(blobs.read_blobs(_plan(pieces, steps)), steps)
    held: dict[bytes, bytes] = {}
    while steps or arriving.has_more() or steps:
        step = steps[0]
        for identity in step.fetched:
            held[identity] = arriving.take()
        steps.popleft()
        yield from _fill(step.piece, held)
        for identity in step.let_go:
            del held[identity]


class _Arriving:
    """The blobs as they arrive; damage is reported with the file whose turn it is."""

    def __init__(self, blobs: Iterator[bytes], steps: deque[_Step]) -> None:
        self._blobs = blobs
        self._steps = steps
        self._first: bytes | None = None

    def has_more(self) -> bool:
        """Whether another blob arrives: asking makes the planner go on."""
        if self._first is None:
            self._first = self._next()
        return self._first is not None

    def take(self) -> bytes:
        """The next blob."""
        found, self._first = self._next() if self._first is None else self._first, None
        assert found is not None  # noqa: S101 - the planner yields what it promises
        return found

    def _next(self) -> bytes | None:
        try:
            return next(self._blobs, None)
        except errors.Damaged as error:
            step = next((step for step in self._steps if step.fetched), None)
            if step is None:
                raise
            path = step.piece.entry.path
            raise error.spec.error(f"cannot read {path!r}: {error.message}", hints=error.hints) from error


def _plan(pieces: Iterator[Piece], steps: deque[_Step]) -> Iterator[BlobRef]:
    """Appends a step for each piece before it yields the blobs to be fetched for it."""
    held: OrderedDict[bytes, int] = OrderedDict()
    held_bytes = 0
    for piece in pieces:
        used = _used(piece)
        fetched = tuple(ref for ref in used if ref.id not in held)
        for ref, count in used.items():
            held_bytes += ref.raw_length - held.pop(ref.id, 0)
            held[ref.id] = ref.raw_length
            # What was mostly used up here is hardly needed again: it goes first.
            held.move_to_end(ref.id, last=2 * count < ref.raw_length)
        used_up = {ref.id for ref, count in used.items() if 2 * count >= ref.raw_length}
        let_go: list[bytes] = []
        while held and (held_bytes > _HELD_BYTES or next(iter(held)) in used_up):
            identity, size = held.popitem(last=False)
            held_bytes -= size
            let_go.append(identity)
        steps.append(_Step(piece=piece, fetched=tuple(ref.id for ref in fetched), let_go=tuple(let_go)))
        yield from fetched


def _used(piece: Piece) -> dict[BlobRef, int]:
    """How many bytes of each blob the piece uses, in the order of first use."""
    used: dict[BlobRef, int] = {}
    for part in piece.parts:
        used[part.blob] = used.get(part.blob, 0) + part.stop - part.start
    return used


def _fill(piece: Piece, held: dict[bytes, bytes]) -> Iterator[tuple[Entry, int, bytes | memoryview]]:
    views = [memoryview(held[part.blob.id])[part.start : part.stop] for part in piece.parts]
    size = sum(map(len, views))
    if size < _DIRECT_BYTES * len(views) and len(views) > 1:
        yield piece.entry, piece.offset, b"".join(views)
        return
    offset = piece.offset
    for view in views:
        yield piece.entry, offset, view
        offset += len(view)
