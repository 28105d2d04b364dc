"""From which backup, and along which WAL, a target is reached: the one pinned answer, or a refusal. Pure.

Invariants: a pinned recovery names a backup that ended at or before the target and WAL that is held without a hole
from its start to its end; whatever cannot be reached so is refused before anything is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum

from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Coverage, Gap, Interval, WalPath
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.recovery.refusals import (
    hole_after,
    newness,
    only_damaged,
    transaction_too_old,
    unknown_timeline,
    unreachable,
)
from safepoint.recovery.targets import PinnedRecovery, RecoveryTarget, TargetKind

BEYOND = timedelta(seconds=2)
"""Commit times are not monotone in WAL: so far beyond a target time WAL is still looked at for commits before it."""

_EPOCH = 1 << 32


class TimelineRule(Enum):
    """Which timeline is taken when none is given by number: the newest that reaches the target, or the backup's own."""

    LATEST = "latest"
    CURRENT = "current"


def choose(
    target: RecoveryTarget,
    coverage: Coverage,
    backups: Sequence[BackupManifest],
    *,
    timeline: TimelineId | TimelineRule | None = None,
    damaged: Collection[str] = (),
) -> PinnedRecovery:
    """The recovery from the newest backup that reaches the target, on the newest timeline unless told otherwise.

    Backups whose id is in `damaged` are passed over. RC001 when none is left, saying what can be reached, and from
    which of the damaged.
    """
    require_known(timeline, coverage)
    by_id = {backup.id: backup for backup in backups}
    target = with_epoch(target, backups)
    wanted = [
        interval
        for interval in coverage.intervals
        if interval.backup_id in by_id
        and _is_on(interval, timeline, target, by_id)
        and (interval.timeline not in coverage.abandoned or interval.timeline == timeline)
    ]
    reaching = sorted(filter(_reaching(target, by_id), wanted), key=newness)
    if not reaching:
        raise _refusal(target, wanted, coverage.gaps, by_id)
    leading = _leading_as_far(_surest(reaching, target, by_id), target)
    interval = next((found for found in leading if found.backup_id not in damaged), None)
    if interval is None:
        raise only_damaged(target, leading, [found for found in wanted if found.backup_id not in damaged])
    if target.kind is TargetKind.LATEST and timeline in {None, TimelineRule.LATEST}:
        _refuse_hole_after(interval, [gap for gap in coverage.gaps if gap.timeline not in coverage.abandoned])
    return _pin(interval, target, by_id[interval.backup_id])


def require_known(timeline: TimelineId | TimelineRule | None, coverage: Coverage) -> None:
    """RC001, saying which there are, for a number that no timeline has of those that are reached, or torn off."""
    held = {interval.timeline for interval in coverage.intervals}
    torn = {gap.timeline for gap in coverage.gaps}
    if isinstance(timeline, TimelineId) and held and timeline not in held | torn:
        raise unknown_timeline(timeline, coverage.intervals)


def passed_over(
    pinned: PinnedRecovery, coverage: Coverage, damaged: Collection[str], backups: Sequence[BackupManifest] = ()
) -> tuple[str, ...]:
    """Ids of the damaged backups that `choose` would have preferred, oldest first."""
    reaches = _reaching(pinned.target, {backup.id: backup for backup in backups})
    reaching = sorted(
        (interval for interval in coverage.intervals if interval.timeline == pinned.timeline and reaches(interval)),
        key=newness,
    )
    names = [interval.backup_id for interval in reaching]
    newer = names[names.index(pinned.backup_id) + 1 :] if pinned.backup_id in names else []
    return tuple(name for name in newer if name in damaged)


def with_epoch(target: RecoveryTarget, backups: Sequence[BackupManifest]) -> RecoveryTarget:
    """A transaction id below 2^32 among later ones stands for the newest that looks alike and may have been in use."""
    newest = max((backup.next_xid for backup in backups), default=0)
    if target.xid is None or target.xid >= _EPOCH or newest < _EPOCH:
        return target
    # Half of all ids lie ahead of any transaction (PostgreSQL documentation, "Preventing Transaction ID Wraparound").
    epoch = max(0, newest + _EPOCH // 2 - target.xid) // _EPOCH
    return replace(target, xid=target.xid + epoch * _EPOCH)


def _is_on(
    interval: Interval,
    timeline: TimelineId | TimelineRule | None,
    target: RecoveryTarget,
    by_id: Mapping[str, BackupManifest],
) -> bool:
    own = by_id[interval.backup_id].timeline
    if timeline is TimelineRule.CURRENT or target.kind is TargetKind.IMMEDIATE:
        is_asked = timeline in {None, TimelineRule.LATEST, TimelineRule.CURRENT, interval.timeline}
        return interval.timeline == own and is_asked
    return timeline in {None, TimelineRule.LATEST, interval.timeline}


def _reaching(target: RecoveryTarget, by_id: Mapping[str, BackupManifest]) -> Callable[[Interval], bool]:
    def reaches(interval: Interval) -> bool:
        if target.xid is not None:
            backup = by_id.get(interval.backup_id)
            return backup is not None and backup.next_xid <= target.xid
        if target.time is not None:
            return interval.latest is not None and interval.earliest <= target.time <= interval.latest
        if target.lsn is not None:
            return interval.start <= target.lsn <= interval.end and _is_on_last_leg_or_before(interval, target.lsn)
        return True

    return reaches


def _is_on_last_leg_or_before(interval: Interval, lsn: Lsn) -> bool:
    """Whether the position lies on the interval's own timeline; before the switch a simpler interval reaches it."""
    return lsn >= interval.path[-1].start


def _surest(
    reaching: Sequence[Interval], target: RecoveryTarget, by_id: Mapping[str, BackupManifest]
) -> Sequence[Interval]:
    """For a transaction: those whose backup says that it had not begun; else the oldest, which most likely precede it.

    The newest of what is given back, which is its last, is the one to take.
    """
    if target.xid is None:
        return reaching
    newest = [interval for interval in reaching if interval.timeline == reaching[-1].timeline]
    sure = [interval for interval in newest if by_id[interval.backup_id].next_xid]
    return sure or newest[:1]


def _leading_as_far(reaching: Sequence[Interval], target: RecoveryTarget) -> list[Interval]:
    """Those that lead to the very same state as the newest, which is the last given; newest first.

    Another timeline is another history, and what ends earlier is not the latest. The end of another backup is another
    state, but a first consistent one all the same.
    """
    newest = reaching[-1]
    return [
        interval
        for interval in reversed(reaching)
        if target.kind is TargetKind.IMMEDIATE
        or (
            interval.timeline == newest.timeline
            and (target.kind is not TargetKind.LATEST or interval.end >= newest.end)
        )
    ]


def _pin(interval: Interval, target: RecoveryTarget, backup: BackupManifest) -> PinnedRecovery:
    end, needed = _ends(interval, target)
    # What follows in the same segment costs nothing to have, and completes a record that the end cuts through.
    ceiling = needed.segment_start(backup.segment_size) + backup.segment_size
    last = interval.path[-1]
    path = (
        *interval.path[:-1],
        WalPath(timeline=last.timeline, start=last.start, end=max(last.start, min(interval.end, ceiling))),
    )
    return PinnedRecovery(
        backup_id=interval.backup_id,
        system_identifier=backup.system_identifier,
        timeline=interval.timeline,
        target=target,
        end=end,
        path=path,
    )


def _ends(interval: Interval, target: RecoveryTarget) -> tuple[Lsn, Lsn]:
    """What must be replayed, and up to where WAL is needed to know that it is."""
    if target.lsn is not None:
        return target.lsn, target.lsn
    if target.time is not None:
        passed, later = _first_mark(interval, target.time), _first_later_commit(interval, target.time)
        looked = _first_mark(interval, target.time + BEYOND)
        # Recovery stops before that commit: what follows in WAL can change nothing, however commits are ordered.
        return passed, looked if later is None else min(looked, later)
    if target.kind is TargetKind.IMMEDIATE:
        return interval.start, interval.start
    return interval.end, interval.end


def _first_mark(interval: Interval, instant: datetime) -> Lsn:
    """The first position known to lie past the instant; the last one known when none does."""
    return next((mark.lsn for mark in interval.marks if mark.clock >= instant), interval.marks[-1].lsn)


def _first_later_commit(interval: Interval, instant: datetime) -> Lsn | None:
    """The end of the first commit known to be later than the instant."""
    return next((mark.lsn for mark in interval.marks if mark.is_commit and mark.clock > instant), None)


def _refuse_hole_after(interval: Interval, gaps: Iterable[Gap]) -> None:
    for gap in gaps:
        if gap.timeline > interval.timeline or (gap.timeline == interval.timeline and gap.start == interval.end):
            raise hole_after(interval, gap)


def _refusal(
    target: RecoveryTarget, wanted: Sequence[Interval], gaps: Sequence[Gap], by_id: Mapping[str, BackupManifest]
) -> errors.SafepointError:
    if target.xid is not None and wanted:
        oldest = min((by_id[interval.backup_id] for interval in wanted), key=lambda backup: backup.next_xid)
        return transaction_too_old(target, oldest.id, oldest.next_xid)
    return unreachable(target, wanted, gaps)
