"""WAL bytes of one timeline on their way into the repository: whole segments, and ranges of the open one.

Invariants: bytes are taken in order and without a hole; `durable` only ever names what the repository has said it
holds; a segment is put whole before its ranges are deleted, so that at every moment each byte once durable stays so;
what arrives continues what is held: where the two overlap they are compared before anything is put. However often
the open segment is shipped, a few dozen ranges of it are stored: they are merged as they become many. Knows no server.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from safepoint import errors
from safepoint.model.coverage import Mark, WalPiece
from safepoint.model.lsn import Lsn, TimelineId, WalSegment
from safepoint.postgres.wal_page import LONG_HEADER_BYTES, long_header
from safepoint.repository import Repository
from safepoint.repository.names import range_leaf, segment_leaf, wal_folder

_MARK_BYTES = 2
_FAN_IN = 16
"""So many ranges of one size are merged into one: each byte is stored again once for each power of this."""

_REMEMBERED_SEGMENTS = 256
"""After so many the ranges are listed again: others, a backup for one, may have left some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WalStreamId:
    """Whose WAL it is: cluster, timeline, the content of that timeline's history file, bytes a segment."""

    cluster: str
    timeline: TimelineId
    history: bytes
    segment_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Ranges put one after the other that are one object now; `level` counts how often it was merged."""

    start: Lsn
    end: Lsn
    level: int = 0


@dataclass(slots=True)
class WalShipper:
    """Takes WAL from `position` on, the first byte of a segment; everything before `durable` is in the repository.

    `mark` is stored with the first piece that reaches it. `keeps_ranges`: those of others are none of its business.
    """

    repository: Repository
    stream: WalStreamId
    position: Lsn
    durable: Lsn
    mark: Mark | None = None
    keeps_ranges: bool = False
    _open: bytearray = field(default_factory=bytearray)
    _whole: deque[tuple[WalSegment, bytes]] = field(default_factory=deque[tuple[WalSegment, bytes]])
    _tail: bytes = b""
    _ranges: list[WalPiece] | None = None
    _folder: str = ""
    _replaceable: set[Lsn] = field(default_factory=set[Lsn])
    _runs: list[_Run] = field(default_factory=list[_Run])
    _shipped: int = 0
    _is_compared: bool = False
    _stored_mark: Mark | None = None

    def __post_init__(self) -> None:
        segment = self._segment_at(self.position)
        if self.position != segment.start:
            raise ValueError(f"found {self.position}, expected the first byte of a segment, {segment.start}")

    @property
    def has_whole_segments(self) -> bool:
        """Whether segments are complete that the repository does not hold yet: ship before taking more."""
        return bool(self._whole)

    def take(self, start: Lsn, data: bytes | memoryview) -> None:
        """Adds bytes that begin at `start`; WL002 when that is not where the last ended, WL001 for foreign WAL."""
        if start != self.position:
            raise errors.WL002.error(
                f"found WAL from {start}, expected it from {self.position} on timeline {self.stream.timeline}",
                changed="everything before is in the repository or will be asked for again",
            )
        rest = memoryview(data)
        while rest:
            segment = self._segment_at(self.position)
            room = segment.end - self.position
            self._open += rest[:room]
            self.position += min(room, len(rest))
            rest = rest[room:]
            self._tail = bytes(self._open[-_MARK_BYTES:])
            if self.position == segment.end:
                _require_own(bytes(self._open[:LONG_HEADER_BYTES]), segment, self.stream)
                self._whole.append((segment, bytes(self._open)))
                self._open.clear()

    def ship_whole(self) -> None:
        """Every complete segment is durable, and the ranges it replaces are gone. May be repeated after an error."""
        while self._whole:
            segment, data = self._whole[0]
            self._require_continuation(segment, data)
            mark = self._mark_up_to(segment.end)
            # The ranges go, and their marks with them: the segment carries the newest.
            carried = mark or self._known_mark(segment.end)
            self.repository.put_wal_segment(
                self.stream.cluster, segment, data, history=self.stream.history, mark=carried
            )
            # Stored by an archive_command before, it has no mark of ours: that goes with what comes next.
            taken = mark if self._has_taken(segment, mark) else None
            self._whole.popleft()
            self._runs.clear()
            self._advance(segment.end, taken)
            self._delete_ranges(segment, carried)

    def ship_open(self) -> None:
        """Everything taken is durable, and the mark even if nothing new was taken. May be repeated after an error."""
        self.ship_whole()
        if self.position > self.durable:
            self._ship_range()
        elif self.mark is not None and self.mark.lsn <= self.durable:
            self._ship_mark(self.mark)

    def _ship_range(self) -> None:
        segment = self._segment_at(self.position)
        start = max(self.durable, segment.start)
        if not self._open:
            return
        data = bytes(self._open[start - segment.start :])
        _require_own(bytes(self._open[:LONG_HEADER_BYTES]), segment, self.stream)
        self._require_continuation(segment, self._open)
        mark = self._mark_up_to(self.position)
        self._put_range(start, data, mark)
        self._advance(self.position, mark)
        self._runs.append(_Run(start=start, end=self.position))
        self._merge_runs(segment)

    def _merge_runs(self, segment: WalSegment) -> None:
        """Runs of one level become one of the next when they are many: put whole first, then its parts deleted."""
        while len(self._runs) >= _FAN_IN and len({run.level for run in self._runs[-_FAN_IN:]}) == 1:
            parts = self._runs[-_FAN_IN:]
            merged = replace(parts[0], end=parts[-1].end, level=parts[0].level + 1)
            data = bytes(self._open[merged.start - segment.start : merged.end - segment.start])
            self._put_range(merged.start, data, self._known_mark(merged.end))
            self._runs[-_FAN_IN:] = [merged]
            for piece in self._stored_ranges():
                if merged.start <= piece.start and piece.end <= merged.end and not _is_run(piece, merged):
                    self._delete(piece)

    def _ship_mark(self, mark: Mark) -> None:
        """The last bytes again, with the mark: nothing came after them until `mark.clock`.

        They go in turns as one and as two bytes, so that the newest mark is never deleted before its successor is in.
        """
        # After a reconnect bytes before `durable` come again: until then the last ones taken are not those before it.
        tail = self._tail if self.position == self.durable else self._stored_tail()
        if len(tail) < _MARK_BYTES:
            return
        earlier = self._only_newest([piece for piece in self._stored_ranges() if _is_mark(piece, self.durable)])
        taken = {piece.end - piece.start for piece in earlier}
        size = next(size for size in range(1, _MARK_BYTES + 1) if size not in taken)
        self._put_range(self.durable + -size, tail[-size:], mark)
        self._advance(self.durable, mark)
        for piece in earlier:
            self._delete(piece)

    def _only_newest(self, pieces: list[WalPiece]) -> list[WalPiece]:
        """At most one of them: a crash between a put and its delete leaves two, and a put would find no free name."""
        if len(pieces) < _MARK_BYTES:
            return pieces
        newest = max(pieces, key=self._clock_of)
        for piece in pieces:
            if piece != newest:
                self._delete(piece)
        return [newest]

    def _clock_of(self, piece: WalPiece) -> datetime:
        mark = self.repository.read_mark(piece)
        return datetime.min.replace(tzinfo=UTC) if mark is None else mark.clock

    def _stored_tail(self) -> bytes:
        last = [piece for piece in self._stored_pieces() if piece.end == self.durable]
        return self.repository.read_wal(last[0])[-_MARK_BYTES:] if last else b""

    def _put_range(self, start: Lsn, data: bytes, mark: Mark | None) -> None:
        self.repository.put_wal_range(
            self.stream.cluster, self.stream.timeline, start, data, history=self.stream.history, mark=mark
        )
        if self._ranges is None or not self._folder:
            self._ranges = None
            return
        end = start + len(data)
        name = f"{self._folder}/{range_leaf(start, end)}"
        piece = WalPiece(timeline=self.stream.timeline, start=start, end=end, name=name, is_partial=True)
        if piece not in self._ranges:
            self._ranges.append(piece)

    def _delete(self, piece: WalPiece) -> None:
        self.repository.delete_wal_range(piece)
        if self._ranges is not None and piece in self._ranges:
            self._ranges.remove(piece)

    def _advance(self, durable: Lsn, mark: Mark | None) -> None:
        self.durable = max(self.durable, durable)
        if mark is not None:
            self.mark, self._stored_mark = None, mark

    def _mark_up_to(self, end: Lsn) -> Mark | None:
        return self.mark if self.mark is not None and self.mark.lsn <= end else None

    def _known_mark(self, end: Lsn) -> Mark | None:
        """The newest mark stored up to `end`; a shipper that has just begun finds those of its predecessor."""
        if self._stored_mark is None and self._stored_ranges():
            marks = [self.repository.read_mark(piece) for piece in self._stored_ranges()]
            known = [mark for mark in marks if mark is not None and mark.lsn <= end]
            self._stored_mark = max(known, key=lambda mark: mark.clock, default=None)
        return self._stored_mark

    def _delete_ranges(self, segment: WalSegment, carried: Mark | None) -> None:
        """Ranges go when the segment that contains them is stored whole, and `segment` has taken their newest mark.

        A segment that a backup stored before keeps the mark it had: then the ranges stay until the next one.
        """
        if self.keeps_ranges or not self._stored_ranges():
            return
        self._replaceable.add(segment.start)
        if not self._has_taken(segment, carried):
            return
        for piece in self._stored_ranges():
            if piece.end <= segment.end and self._segment_at(piece.start).start in self._replaceable:
                self._delete(piece)
        self._forget_now_and_then()

    def _forget_now_and_then(self) -> None:
        self._replaceable.clear()
        self._shipped += 1
        if self._shipped >= _REMEMBERED_SEGMENTS:
            self._ranges, self._shipped = None, 0

    def _has_taken(self, segment: WalSegment, carried: Mark | None) -> bool:
        if carried is None:
            return True
        mark = self.repository.read_mark(self._stored(segment))
        return mark is not None and mark.clock >= carried.clock

    def _stored(self, segment: WalSegment) -> WalPiece:
        """The segment as it is stored."""
        lineage = self.repository.lineage_of(segment.timeline, self.stream.history)
        name = f"{wal_folder(self.stream.cluster, lineage)}/{segment_leaf(segment)}"
        return WalPiece(timeline=segment.timeline, start=segment.start, end=segment.end, name=name, is_partial=False)

    def _stored_ranges(self) -> list[WalPiece]:
        """Those of this timeline, as one listing showed them and as this shipper has put and deleted since."""
        if self._ranges is None:
            pieces = self._stored_pieces()
            self._ranges = [piece for piece in pieces if piece.is_partial]
            self._folder = next((piece.name.rpartition("/")[0] for piece in self._ranges), self._folder)
            whole = {piece.start for piece in pieces if not piece.is_partial}
            self._replaceable = whole & {self._segment_at(piece.start).start for piece in self._ranges}
        return list(self._ranges)

    def _stored_pieces(self) -> list[WalPiece]:
        pieces = self.repository.wal_pieces(self.stream.cluster)
        return [piece for piece in pieces if piece.timeline == self.stream.timeline]

    def _require_continuation(self, segment: WalSegment, data: bytes | bytearray) -> None:
        """WL001 when the ranges held of the first segment hold other bytes: a clone that went its own way."""
        if self._is_compared:
            return
        for piece in self._stored_ranges():
            start, end = max(piece.start, segment.start), min(piece.end, segment.start + len(data))
            if start >= end:
                continue
            held = self.repository.read_wal(piece)[start - piece.start : end - piece.start]
            if held != data[start - segment.start : end - segment.start]:
                raise _diverged(self.stream, start, end)
        self._is_compared = segment.start + len(data) >= self.durable

    def _segment_at(self, lsn: Lsn) -> WalSegment:
        return WalSegment.holding(self.stream.timeline, lsn, self.stream.segment_size)


def _is_run(piece: WalPiece, run: _Run) -> bool:
    return (piece.start, piece.end) == (run.start, run.end)


def _is_mark(piece: WalPiece, end: Lsn) -> bool:
    return piece.end == end and piece.end - piece.start <= _MARK_BYTES


def _diverged(stream: WalStreamId, start: Lsn, end: Lsn) -> errors.SafepointError:
    return errors.WL001.error(
        f"found other WAL from {start} up to {end} on timeline {stream.timeline} of cluster {stream.cluster}, "
        "expected the bytes that the repository holds",
        changed="nothing was stored; the WAL held is untouched",
        hints=[
            errors.ask("is the server a clone, a snapshot or a copy that was rolled back, and then went its own way?"),
            errors.run("promote the copy to a timeline of its own, or give it a repository of its own"),
        ],
    )


def _require_own(head: bytes, segment: WalSegment, stream: WalStreamId) -> None:
    """The first page of a segment says whose it is; WL001 when that is somebody else (xlog_internal.h)."""
    if len(head) < LONG_HEADER_BYTES:
        return
    header = long_header(head)
    found = (str(header.system_identifier), header.address, header.segment_size)
    expected = (stream.cluster, segment.start, stream.segment_size)
    if not header.is_long or found != expected:
        raise errors.WL001.error(
            f"found WAL of cluster {found[0]} at {found[1]} with {found[2]} bytes a segment, "
            f"expected cluster {expected[0]} at {expected[1]} with {expected[2]}",
            changed="the segment was not stored",
            hints=[errors.ask("does the address now lead to another server?")],
        )
