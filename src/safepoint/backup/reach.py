"""Coverage as people ask for it: from which backup each stretch is restored, at what cost; what is lost. Pure.

Of two backups that lead to the same position the newer one is taken: it has less WAL to replay.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter

from safepoint.backup.coverage import Spans, contiguous_end
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Coverage, Gap, Interval, Mark
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.reach import Cause, Loss, Reach, Within
from safepoint.model.speed import Speed

_NO_BYTES = Lsn(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What tells why WAL is missing.

    Pieces that do not open, what the journal says was stored and expired; and the marks that were read, in the order
    of WAL.
    """

    damaged: Spans
    stored_once: Spans
    expired: Spans
    marks: Mapping[TimelineId, Sequence[Mark]]


def reaches_of(
    coverage: Coverage,
    backups: Sequence[BackupManifest],
    timeline: TimelineId,
    *,
    speed: Speed,
    window_start: datetime | None = None,
) -> tuple[Reach, ...]:
    """What is restored from each backup on that timeline, in the order of their positions."""
    by_id = {backup.id: backup for backup in backups}
    found = [interval for interval in coverage.intervals if interval.timeline == timeline]
    intervals = sorted(found, key=lambda interval: (_start(interval), interval.start))
    places = _places(intervals, window_start)
    following = [*intervals[1:], None][: len(intervals)]
    return tuple(
        _reach(interval, by_id[interval.backup_id], next_one, speed=speed, within=within)
        for interval, next_one, within in zip(intervals, following, places, strict=True)
    )


def window_start_of(coverage: Coverage, keep: timedelta | None) -> tuple[datetime | None, datetime | None]:
    """The newest instant that can be restored, and where a window that ends with it begins."""
    followed = (interval for interval in coverage.intervals if interval.timeline not in coverage.abandoned)
    newest = max((interval.latest or interval.earliest for interval in followed), default=None)
    return newest, None if newest is None or keep is None else newest - keep


def losses_of(coverage: Coverage, backups: Sequence[BackupManifest], evidence: Evidence) -> tuple[Loss, ...]:
    """Every gap with its cause, as far as can be told, and the instants around it."""
    starts = {(backup.timeline, backup.start_lsn) for backup in backups}
    oldest = min(((backup.timeline, backup.start_lsn) for backup in backups), default=None)
    return tuple(
        Loss(
            timeline=gap.timeline,
            start=gap.start,
            end=gap.end,
            cause=_cause(gap, evidence, starts),
            after=_last_before(evidence.marks.get(gap.timeline, ()), gap.start),
            before=_first_after(evidence.marks.get(gap.timeline, ()), gap.end),
            is_harmless=oldest is not None and (gap.timeline, gap.end) <= oldest,
            is_abandoned=gap.timeline in coverage.abandoned,
        )
        for gap in coverage.gaps
    )


def _reach(
    interval: Interval, backup: BackupManifest, following: Interval | None, *, speed: Speed, within: Within | None
) -> Reach:
    is_bounded = following is not None and _start(following) <= interval.end
    end = _start(following) if following is not None and is_bounded else interval.end
    latest = _earliest(following) if following is not None and is_bounded else interval.latest
    wal_bytes = sum(max(0, min(leg.end, end) - leg.start) for leg in interval.path)
    return Reach(
        backup_id=interval.backup_id,
        start=_start(interval),
        end=end,
        earliest=_earliest(interval),
        latest=latest,
        file_bytes=backup.raw_bytes,
        wal_bytes=wal_bytes,
        seconds=speed.seconds(backup.raw_bytes, wal_bytes),
        own_end=interval.end,
        own_latest=interval.latest,
        within=within,
    )


def _start(interval: Interval) -> Lsn:
    """The first position on the interval's own timeline: of one that was promoted to, the segment of the switch."""
    return max(interval.start, interval.path[-1].start)


def _earliest(interval: Interval) -> datetime | None:
    """The instant of that position: the backup's end, or on a timeline promoted to what its first mark tells."""
    if len(interval.path) == 1:
        return interval.earliest
    start = _start(interval)
    return next((mark.clock for mark in interval.marks if mark.lsn >= start), None)


def _places(intervals: Sequence[Interval], window_start: datetime | None) -> list[Within | None]:
    """The newest backup that ended before the window serves its beginning; those before it serve none of it."""
    if window_start is None:
        return [None] * len(intervals)
    places: list[Within | None] = [
        Within.WINDOW if interval.earliest >= window_start else Within.BEFORE for interval in intervals
    ]
    newest = max((at for at, place in enumerate(places) if place is Within.BEFORE), default=None)
    if newest is not None and _leads_into(intervals[newest], window_start):
        places[newest] = Within.ACROSS
    return places


def _leads_into(interval: Interval, window_start: datetime) -> bool:
    return interval.latest is not None and interval.latest >= window_start


def _cause(gap: Gap, evidence: Evidence, starts: set[tuple[TimelineId, Lsn]]) -> Cause:
    if gap.start == _NO_BYTES:
        return Cause.HISTORY
    if _touches(gap, evidence.damaged):
        return Cause.DAMAGED
    if _touches(gap, evidence.expired):
        return Cause.EXPIRED
    if _touches(gap, evidence.stored_once):
        return Cause.DELETED
    return Cause.BEFORE_STREAM if (gap.timeline, gap.start) in starts else Cause.NOT_RECEIVED


def _touches(gap: Gap, spans: Spans) -> bool:
    """Whether any byte of the gap lies in the spans."""
    if contiguous_end(spans, gap.timeline, gap.start) > gap.start:
        return True
    return any(gap.start <= span.start < gap.end for span in spans.get(gap.timeline, ()))


def _last_before(marks: Sequence[Mark], lsn: Lsn) -> datetime | None:
    at = bisect_right(marks, lsn, key=attrgetter("lsn"))
    return marks[at - 1].clock if at else None


def _first_after(marks: Sequence[Mark], lsn: Lsn) -> datetime | None:
    at = bisect_left(marks, lsn, key=attrgetter("lsn"))
    return marks[at].clock if at < len(marks) else None
