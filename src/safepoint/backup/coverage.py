"""Which instants can be restored: exact arithmetic over backups, WAL pieces, marks and timeline histories. Pure.

Everything is half-open [start, end) in bytes of WAL. Invariants: an interval never spans a byte that no piece holds;
adding a piece never shrinks an interval; a history that is missing or unreadable only ever makes coverage smaller.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from operator import attrgetter, itemgetter

from safepoint.backup.commit_marks import marks_of_commits, steps_of_commits
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Commits, Coverage, Gap, Interval, Mark, WalPath, WalPiece
from safepoint.model.history import Ancestor, parse_history
from safepoint.model.lsn import Lsn, TimelineId

_WRONG = timedelta(days=1)

Spans = Mapping[TimelineId, tuple[WalPath, ...]]
"""Per timeline the maximal contiguous stretches of WAL, in order, none touching the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clocks:
    """What a timeline's clock said at each position, and the latest that it had said up to there."""

    readings: Sequence[tuple[Lsn, datetime]]
    latest: Sequence[datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Archive:
    """What the repository holds of one cluster's WAL."""

    spans: Spans
    marks: Mapping[TimelineId, tuple[Mark, ...]]
    clocks: Mapping[TimelineId, _Clocks]
    ancestors: Mapping[TimelineId, tuple[Ancestor, ...]]


def coverage_of(
    backups: Sequence[BackupManifest],
    pieces: Iterable[WalPiece],
    marks: Mapping[str, Mark] | None = None,
    histories: Mapping[TimelineId, bytes] | None = None,
    *,
    lost: Iterable[WalPiece] = (),
    steps: Mapping[TimelineId, Sequence[Mark]] | None = None,
    commits: Mapping[str, Commits] | None = None,
) -> Coverage:
    """Everything that can be restored of one cluster.

    `backups` are of one system identifier, oldest first; `marks` and `commits` are by the names of pieces;
    `histories` are the contents of the history files stored; `lost` are pieces that are listed and do not open;
    `steps` are what clocks had said before they were set back.

    A backup whose own WAL [start, stop) is incomplete has no interval, and what it lacks is among the gaps. So is
    whatever keeps backups from WAL that is held: bytes that are lost, the end of an ancestor, the beginning of a
    timeline, a history (then everything before the first byte held is said to be missing).
    """
    held = tuple(pieces)
    by_timeline = marks_by_timeline(held, marks or {}, commits)
    stepped = [*(steps or {}).items(), *steps_of_commits(held, commits or {}).items()]
    archive = _Archive(
        spans=spans_of(held),
        marks=by_timeline,
        clocks=_clocks_of(by_timeline, stepped, backups),
        ancestors=_ancestors(histories or {}),
    )
    return Coverage(
        intervals=tuple(interval for backup in backups for interval in _intervals_of(backup, archive)),
        gaps=_gaps_of(backups, archive, listed=spans_of((*held, *lost))),
    )


def spans_of(pieces: Iterable[WalPiece]) -> Spans:
    """The contiguous stretches that the pieces form; pieces may overlap, touch and come in any order."""
    # Numbers: values of model compare field by field, which takes seconds where there are 100,000.
    ranges = sorted((piece.timeline.value, piece.start.value, piece.end.value) for piece in pieces)
    found: dict[int, list[list[int]]] = {}
    for timeline, start, end in ranges:
        spans = found.setdefault(timeline, [])
        if start == end:
            continue
        if spans and start <= spans[-1][1]:
            spans[-1][1] = max(end, spans[-1][1])
        else:
            spans.append([start, end])
    return {TimelineId(number): _paths(TimelineId(number), spans) for number, spans in found.items()}


def contiguous_end(spans: Spans, timeline: TimelineId, start: Lsn) -> Lsn:
    """How far the WAL of `timeline` is held without a hole from `start` on; `start` itself when that byte is not."""
    of_timeline = spans.get(timeline, ())
    at = bisect_right(of_timeline, start, key=attrgetter("start"))
    return max(start, of_timeline[at - 1].end) if at else start


def _paths(timeline: TimelineId, spans: Iterable[Sequence[int]]) -> tuple[WalPath, ...]:
    return tuple(WalPath(timeline=timeline, start=Lsn(start), end=Lsn(end)) for start, end in spans)


def _ancestors(histories: Mapping[TimelineId, bytes]) -> Mapping[TimelineId, tuple[Ancestor, ...]]:
    found: dict[TimelineId, tuple[Ancestor, ...]] = {}
    for timeline, content in histories.items():
        with suppress(ValueError):
            found[timeline] = parse_history(content)
    return found


def _intervals_of(backup: BackupManifest, archive: _Archive) -> list[Interval]:
    if contiguous_end(archive.spans, backup.timeline, backup.start_lsn) < backup.stop_lsn:
        return []
    return [
        interval
        for timeline in sorted({backup.timeline, *archive.ancestors})
        if (interval := _interval_on(backup, timeline, archive)) is not None
    ]


def _interval_on(backup: BackupManifest, timeline: TimelineId, archive: _Archive) -> Interval | None:
    """The interval that ends on `timeline`; None when the WAL held does not lead from the backup to it."""
    path = _path_to(backup, timeline, archive)
    if path is None:
        return None
    marks = _marks_on(path, archive.marks, since=backup.stop_lsn)
    newest = max(map(attrgetter("clock"), marks), default=None)
    earliest = _earliest(backup, archive)
    return Interval(
        backup_id=backup.id,
        timeline=timeline,
        start=backup.stop_lsn,
        end=path[-1].end,
        earliest=earliest,
        latest=None if newest is None or newest < earliest else newest,
        path=path,
        marks=marks,
    )


def _clocks_of(
    marks: Mapping[TimelineId, Sequence[Mark]],
    steps: Iterable[tuple[TimelineId, Sequence[Mark]]],
    backups: Sequence[BackupManifest],
) -> Mapping[TimelineId, _Clocks]:
    found = {timeline: [(mark.lsn, mark.clock) for mark in of_timeline] for timeline, of_timeline in marks.items()}
    for timeline, of_timeline in steps:
        found.setdefault(timeline, []).extend((mark.lsn, mark.clock) for mark in of_timeline)
    for backup in backups:
        found.setdefault(backup.timeline, []).append((backup.stop_lsn, backup.stopped_at))
    clocks: dict[TimelineId, _Clocks] = {}
    for timeline, readings in found.items():
        readings.sort(key=lambda reading: (reading[0].value, reading[1]))
        latest = tuple(accumulate((clock for _, clock in readings), max))
        clocks[timeline] = _Clocks(readings=readings, latest=latest)
    return clocks


def _earliest(backup: BackupManifest, archive: _Archive) -> datetime:
    """The first instant that a recovery from the backup leads to; its end, unless the clock was set back before.

    A recovery to an instant ends at the first later commit. Where the clock had said a later time already, that
    commit lies before the backup, and an older one leads there. A clock that was a day ahead or more was wrong: what
    it said keeps nobody from the instants that came in their turn.
    """
    ends = [(ancestor.timeline, ancestor.switch) for ancestor in archive.ancestors.get(backup.timeline, ())]
    earliest = backup.stopped_at
    for timeline, end in (*ends, (backup.timeline, backup.stop_lsn)):
        clocks = archive.clocks.get(timeline)
        at = 0 if clocks is None else bisect_left(clocks.readings, end, key=itemgetter(0))
        if clocks is None or not at or clocks.latest[at - 1] <= backup.stopped_at:
            continue
        said = (clock for _, clock in clocks.readings[:at] if clock < backup.stopped_at + _WRONG)
        earliest = max(earliest, max(said, default=earliest))
    return earliest


def _path_to(backup: BackupManifest, timeline: TimelineId, archive: _Archive) -> tuple[WalPath, ...] | None:
    """The legs from the backup's start to the end of what is held of `timeline`."""
    legs: list[WalPath] = []
    start = backup.start_lsn
    for leg_timeline, switch in _way(backup, timeline, archive):
        end = contiguous_end(archive.spans, leg_timeline, start)
        if switch is not None:
            # The segment of the switch is repeated on the next timeline, where recovery reads it.
            needed = max(start, switch.segment_start(backup.segment_size))
            if end < needed:
                return None
            end = needed
        legs.append(WalPath(timeline=leg_timeline, start=start, end=end))
        start = end
    is_reached = bool(legs) and (timeline == backup.timeline or legs[-1].end > legs[-1].start)
    return tuple(legs) if is_reached else None


def _way(backup: BackupManifest, timeline: TimelineId, archive: _Archive) -> Sequence[tuple[TimelineId, Lsn | None]]:
    """Each timeline from the backup's to `timeline` with the LSN at which it is left; empty when none leads there."""
    if timeline == backup.timeline:
        return [(timeline, None)]
    ancestors = [ancestor for ancestor in archive.ancestors[timeline] if ancestor.timeline >= backup.timeline]
    if not ancestors or ancestors[0].timeline != backup.timeline or ancestors[0].switch < backup.stop_lsn:
        return []
    return [*((ancestor.timeline, ancestor.switch) for ancestor in ancestors), (timeline, None)]


def _marks_on(path: Sequence[WalPath], marks: Mapping[TimelineId, tuple[Mark, ...]], *, since: Lsn) -> tuple[Mark, ...]:
    """A leg's marks end with it: on a timeline that went on after the switch, later marks speak of another history."""
    found: list[Mark] = []
    for leg in path:
        of_timeline = marks.get(leg.timeline, ())
        first = bisect_left(of_timeline, max(leg.start, since), key=attrgetter("lsn"))
        found += of_timeline[first : bisect_right(of_timeline, leg.end, key=attrgetter("lsn"))]
    return tuple(found) if len(path) == 1 else tuple(dict.fromkeys(found))


def marks_by_timeline(
    pieces: Iterable[WalPiece], marks: Mapping[str, Mark], commits: Mapping[str, Commits] | None = None
) -> Mapping[TimelineId, tuple[Mark, ...]]:
    """The marks that the pieces carry, and those that their commits are, in the order of WAL; by names of pieces."""
    found: dict[TimelineId, list[Mark]] = {}
    for piece in pieces:
        if piece.name in marks:
            found.setdefault(piece.timeline, []).append(marks[piece.name])
        if commits and piece.name in commits:
            found.setdefault(piece.timeline, []).extend(marks_of_commits(piece, commits[piece.name]))
    return {
        timeline: tuple(sorted(dict.fromkeys(of_timeline), key=lambda mark: (mark.lsn.value, mark.clock)))
        for timeline, of_timeline in found.items()
    }


def _gaps_of(backups: Sequence[BackupManifest], archive: _Archive, *, listed: Spans) -> tuple[Gap, ...]:
    """All that is missing, each once, in the order of positions."""
    gaps = {
        *_gaps_between(archive.spans, listed),
        *_gaps_before_orphans(archive),
        *(gap for backup in backups for gap in _gaps_within(backup, archive.spans)),
        *(gap for backup in backups for gap in _gaps_on_the_way(backup, archive)),
    }
    return tuple(sorted(gaps, key=lambda gap: (gap.timeline, gap.start, gap.end)))


def _gaps_between(spans: Spans, listed: Spans) -> list[Gap]:
    """Holes between spans, and what is listed and not held after the last one or of a timeline without any."""
    found: list[Gap] = []
    for timeline, of_timeline in listed.items():
        held = spans.get(timeline, ())
        ends = [of_timeline[0].start if not held else min(of_timeline[0].start, held[0].start)]
        for span in held:
            ends += [span.start, span.end]
        ends.append(of_timeline[-1].end)
        found += [Gap(timeline=timeline, start=ends[at], end=ends[at + 1]) for at in range(0, len(ends), 2)]
    return [gap for gap in found if gap.start < gap.end]


def _gaps_before_orphans(archive: _Archive) -> list[Gap]:
    """A timeline without a history that can be read: nobody knows what leads to it."""
    return [
        Gap(timeline=timeline, start=Lsn(0), end=of_timeline[0].start)
        for timeline, of_timeline in archive.spans.items()
        if of_timeline and timeline.has_history and timeline not in archive.ancestors
    ]


def _gaps_on_the_way(backup: BackupManifest, archive: _Archive) -> list[Gap]:
    """What is missing where timelines are left and entered, on the ways to those of which WAL is held."""
    found: list[Gap] = []
    for timeline in archive.ancestors.keys() & archive.spans.keys():
        start = backup.start_lsn
        for leg, switch in _way(backup, timeline, archive):
            spans = archive.spans.get(leg, ())
            if switch is None:
                found.append(Gap(timeline=leg, start=start, end=spans[0].start if spans else start))
                break
            needed = max(start, switch.segment_start(backup.segment_size))
            found.append(Gap(timeline=leg, start=max(start, spans[-1].end) if spans else start, end=needed))
            start = needed
    return [gap for gap in found if gap.start < gap.end]


def _gaps_within(backup: BackupManifest, spans: Spans) -> list[Gap]:
    """What is missing of a backup's own WAL at its edges; holes inside have WAL on both sides and are found as such."""
    held = [
        span for span in spans.get(backup.timeline, ()) if span.start < backup.stop_lsn and span.end > backup.start_lsn
    ]
    first = held[0].start if held else backup.stop_lsn
    last = held[-1].end if held else backup.stop_lsn
    edges = [(backup.start_lsn, first), (last, backup.stop_lsn)]
    return [Gap(timeline=backup.timeline, start=start, end=end) for start, end in edges if start < end]
