"""Which pieces of WAL are read for their marks and commits: few of many, so that coverage loses next to nothing.

A piece never changes, and the marks of a timeline rise with its WAL unless a clock was set back. So those that bound an
answer are read: both ends of every stretch, some evenly between (a clock that was set back shows in them), and, for an
instant that somebody wants to restore, those around it by halving. A mark that is not read makes coverage no wrong
promise: the newest instant stays that of a mark which is held, and recovery itself stops at the first later commit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter

from safepoint import errors
from safepoint.backup.coverage import spans_of
from safepoint.model.coverage import Commits, Mark, PieceTimes, WalPiece
from safepoint.model.lsn import Lsn, TimelineId

FEW = 256
"""So many pieces are all read."""

_READERS = 4
_BETWEEN = 64
_MOST_SPANS = 256
_PATIENCE = 8
_MOST_ROUNDS = 16

Boundary = tuple[TimelineId, Lsn]
"""Where a timeline was left: the marks before it count, those behind it are another history's."""


@dataclass(slots=True, kw_only=True)
class MarkReading:
    """What was read so far: `marks` and `commits` by the names of their pieces, and the pieces that do not open."""

    read: Callable[[WalPiece], PieceTimes]
    marks: dict[str, Mark] = field(default_factory=dict[str, Mark])
    commits: dict[str, Commits] = field(default_factory=dict[str, Commits])
    lost: set[WalPiece] = field(default_factory=set[WalPiece])
    _seen: set[str] = field(default_factory=set[str])

    def take(self, pieces: Iterable[WalPiece]) -> bool:
        """These have been read, in parallel; whether one of them turned out not to open."""
        fresh = [piece for piece in dict.fromkeys(pieces) if piece.name not in self._seen]
        self._seen.update(piece.name for piece in fresh)
        with ThreadPoolExecutor(_READERS, thread_name_prefix="safepoint-marks") as pool:
            found = list(zip(fresh, pool.map(self._try, fresh), strict=True))
        for piece, times in found:
            if isinstance(times, PieceTimes):
                self.marks |= {} if times.mark is None else {piece.name: times.mark}
                self.commits |= {} if times.commits is None else {piece.name: times.commits}
        lost = {piece for piece, times in found if isinstance(times, errors.Damaged)}
        self.lost |= lost
        return bool(lost)

    @property
    def opened(self) -> int:
        """How many pieces were read, or could not be."""
        return len(self._seen)

    def clock_of(self, piece: WalPiece) -> datetime | None:
        """The latest that the piece's mark or its commits say; None when it has none or does not open."""
        self.take([piece])
        return self.known_clock_of(piece)

    def known_clock_of(self, piece: WalPiece) -> datetime | None:
        """The same as far as it was read."""
        mark, commits = self.marks.get(piece.name), self.commits.get(piece.name)
        if mark is None or commits is None:
            return mark.clock if mark is not None else commits.latest if commits is not None else None
        return max(mark.clock, commits.latest)

    def _try(self, piece: WalPiece) -> PieceTimes | errors.Damaged:
        try:
            return self.read(piece)
        except errors.Damaged as error:
            return error


def read_marks(
    pieces: Sequence[WalPiece],
    read: Callable[[WalPiece], PieceTimes],
    *,
    around: Collection[datetime] = (),
    boundaries: Collection[Boundary] = (),
) -> MarkReading:
    """The marks that coverage needs of these pieces, which are in the order of timeline, start and end.

    All of at most `FEW`. Of more: a number that does not grow with them, and of each instant `around` and each timeline
    as many again as it takes to halve them down to one.
    """
    reading = MarkReading(read=read)
    if len(pieces) <= FEW:
        reading.take(pieces)
        return reading
    by_timeline = {timeline: list(found) for timeline, found in _by_timeline(pieces).items()}
    # A piece that does not open ends the stretch before it: then the ends are others, and are read in their turn.
    rounds = (reading.take(_bounding(by_timeline, reading.lost)) for _ in range(_MOST_ROUNDS))
    if all(rounds):
        reading.take(pieces)
    reading.take(_before(by_timeline, boundaries))
    for held in by_timeline.values():
        reading.take(held[number * len(held) // _BETWEEN] for number in range(_BETWEEN))
        _reach_back(held, reading)
        for instant in sorted(around):
            _close_in(held, reading, instant)
    return reading


def _by_timeline(pieces: Iterable[WalPiece]) -> Mapping[TimelineId, list[WalPiece]]:
    found: dict[int, list[WalPiece]] = {}
    for piece in pieces:
        found.setdefault(piece.timeline.value, []).append(piece)
    return {TimelineId(number): of_timeline for number, of_timeline in found.items()}


def _bounding(by_timeline: Mapping[TimelineId, Sequence[WalPiece]], lost: Collection[WalPiece]) -> Iterator[WalPiece]:
    """The pieces with which the newest stretches begin and end."""
    for timeline, pieces in by_timeline.items():
        held = [piece for piece in pieces if piece not in lost]
        spans = spans_of(held).get(timeline, ())[-_MOST_SPANS:]
        starts, ends = {span.start.value for span in spans}, {span.end.value for span in spans}
        yield from (piece for piece in held if piece.start.value in starts or piece.end.value in ends)


def _before(by_timeline: Mapping[TimelineId, Sequence[WalPiece]], boundaries: Iterable[Boundary]) -> Iterator[WalPiece]:
    """The last pieces before timelines were left."""
    for timeline, switch in boundaries:
        pieces = by_timeline.get(timeline, ())
        at = bisect_right(pieces, switch, key=attrgetter("start"))
        yield from pieces[max(0, at - 2) : at]


def _reach_back(held: Sequence[WalPiece], reading: MarkReading) -> None:
    """From the end backwards until a piece has a mark; without any for a while, none is assumed."""
    for piece in reversed(held[-_PATIENCE:]):
        if piece not in reading.lost and reading.clock_of(piece) is not None:
            return


def _close_in(held: Sequence[WalPiece], reading: MarkReading, instant: datetime) -> None:
    """The marks next to where the timeline first passed the instant are read."""
    known = [(at, clock) for at, piece in enumerate(held) if (clock := reading.known_clock_of(piece)) is not None]
    later = next((at for at, clock in known if clock >= instant), None)
    if later is None:
        return
    earlier = max((at for at, _ in known if at < later), default=-1)
    while later - earlier > 1:
        middle = (earlier + later) // 2
        nearest = held[middle : min(later, middle + _PATIENCE)]
        clock = next((clock for piece in nearest if (clock := reading.clock_of(piece)) is not None), None)
        if clock is not None and clock < instant:
            earlier = middle
        else:
            later = middle
