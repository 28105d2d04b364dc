"""The instants that can be restored, as values. `backup.coverage` computes them; recovery chooses among them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from safepoint.model.lsn import Lsn, TimelineId


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Every commit that the server had acknowledged by `clock`, its own clock, lies before `lsn`.

    The clock is read first, the flushed position after it: the other way round a commit between the two would count
    as archived without being so. `before_step`: since the mark before, the clock was set back, and had said at most
    this. `is_commit`: a commit of that very time ends at `lsn` or before, so that a recovery to any earlier instant
    stops before it. A commit is a mark: whatever stands behind it in WAL was inserted, and acknowledged, later.
    """

    lsn: Lsn
    clock: datetime
    before_step: datetime | None = None
    is_commit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit: where its record ends in WAL, and its time."""

    lsn: Lsn
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Commits:
    """Of the commits whose records lie whole in a piece of WAL the first, the last, and the greatest time."""

    first: Commit
    last: Commit
    latest: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceTimes:
    """What a piece of WAL says of time: the newest mark known when it was put, and its commits.

    No commits: none was found, which proves nothing where the piece begins or ends within a record; or (of pieces that
    were put before this was noted) it is not known.
    """

    mark: Mark | None = None
    commits: Commits | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WalPiece:
    """Contiguous WAL bytes [start, end) of one timeline, durable in the repository as `name`.

    A complete segment, or (`is_partial`) a range of the segment that was open when it was shipped. Pieces may
    overlap: a range that repeats the last bytes carries a mark of an idle server.
    """

    timeline: TimelineId
    start: Lsn
    end: Lsn
    name: str
    is_partial: bool

    def covers(self, other: WalPiece) -> bool:
        """Whether it holds all bytes of the other, of the same timeline."""
        return self.timeline == other.timeline and self.start <= other.start and other.end <= self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """WAL bytes [start, end) of one timeline that the repository does not hold, with WAL on both sides."""

    timeline: TimelineId
    start: Lsn
    end: Lsn


@dataclass(frozen=True, slots=True, kw_only=True)
class WalPath:
    """WAL bytes [start, end) of one timeline: a leg of the way a recovery takes."""

    timeline: TimelineId
    start: Lsn
    end: Lsn


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """From backup `backup_id` every LSN in [start, end] of `timeline` can be restored.

    In time: from `earliest` (the backup's end, or what a clock that was set back had said before it) to `latest`, the
    newest mark the interval holds; None when no mark proves any instant after `earliest`. `path` is the WAL that leads
    there, from the backup's start, over every timeline crossed; `marks` are those on it, in the order of their LSN.
    """

    backup_id: str
    timeline: TimelineId
    start: Lsn
    end: Lsn
    earliest: datetime
    latest: datetime | None
    path: tuple[WalPath, ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Everything restorable of one cluster, newest backup last, and what is missing.

    On `abandoned` timelines production did not go on: they are restored when they are asked for.
    """

    intervals: tuple[Interval, ...]
    gaps: tuple[Gap, ...]
    abandoned: frozenset[TimelineId] = frozenset()
