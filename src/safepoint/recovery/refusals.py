"""Why a target is not reached, with what is: the refusals of `choice`, in words and commands. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from safepoint import errors
from safepoint.model.coverage import Gap, Interval
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.measures import format_instant
from safepoint.recovery.targets import RecoveryTarget


def newness(interval: Interval) -> tuple[TimelineId, Lsn]:
    """What sorts intervals, the newest last."""
    return interval.timeline, interval.start


def hole_after(interval: Interval, gap: Gap) -> errors.SafepointError:
    """`latest` would end before WAL that is held: behind the gap."""
    return errors.RC001.error(
        f"found a WAL gap from {gap.start} up to {gap.end} on timeline {gap.timeline} with more WAL behind it, "
        "expected none after the newest backup: `latest` would silently lose what follows",
        hints=[
            errors.ask("was the WAL stream cut off there, or an object deleted or damaged in the repository?"),
            errors.run(f"restore what leads up to it on purpose: `--to {interval.end}`"),
            *_time_hint(interval),
        ],
    )


def unknown_timeline(timeline: TimelineId, intervals: Sequence[Interval]) -> errors.SafepointError:
    """No backup leads to a timeline of that number; others are reached."""
    ends = {interval.timeline: interval.end for interval in sorted(intervals, key=newness)}
    known = "; ".join(f"timeline {number} up to {end}" for number, end in sorted(ends.items()))
    return errors.RC001.error(
        f"found no timeline {timeline} that a backup leads to, expected one of those that are held: {known}",
        hints=[
            errors.ask("was the server of that timeline ever received from, or archived?"),
            errors.run(f"give one of those, or leave the option out: `--timeline {max(ends)}`"),
        ],
    )


def unreachable(target: RecoveryTarget, intervals: Sequence[Interval], gaps: Sequence[Gap]) -> errors.SafepointError:
    """No interval reaches the target."""
    newest_gaps = sorted(gaps, key=lambda gap: (gap.timeline, gap.start), reverse=True)
    holes = [f"WAL is missing from {gap.start} up to {gap.end} on timeline {gap.timeline}" for gap in newest_gaps]
    return errors.RC001.error(
        "; ".join((f"found target {target}, expected one that can be reached: {_few(intervals)}", *holes[:1])),
        hints=[*_unreachable_hints(target, intervals), *_more(len(intervals) + len(holes))],
    )


def only_damaged(
    target: RecoveryTarget, leading: Sequence[Interval], sound: Sequence[Interval]
) -> errors.SafepointError:
    """What reaches the target, newest first, begins from damaged backups only."""
    newest = leading[0].backup_id
    names = ", ".join(dict.fromkeys(interval.backup_id for interval in leading))
    hints = [
        errors.run(f"check it again, should the store have lied: `safepoint verify --backup {newest}`"),
        errors.run(f"try it all the same, every file is checked as it is written: `--backup {newest}`"),
    ]
    if sound:
        hints.append(errors.run(f"restore what sound backups reach: `--to {max(sound, key=newness).end}`"))
    return errors.RC001.error(
        f"found target {target} reached only from backups that their last verification found damaged ({names}), "
        f"expected a sound one; sound ones reach: {_few(sound)}",
        hints=hints,
    )


def transaction_too_old(target: RecoveryTarget, oldest: str, next_xid: int) -> errors.SafepointError:
    """The transaction may have ended before any backup did."""
    return errors.RC001.error(
        f"found {target}, expected one that had not begun when the oldest backup ended: {oldest} ended when "
        f"{next_xid} was the next, so that this one may lie within it or before",
        hints=[
            errors.ask("is it the id of a later transaction that is meant, with its epoch?"),
            errors.run("restore to a position or a time instead: `--to LSN|TIME`"),
        ],
    )


def _unreachable_hints(target: RecoveryTarget, intervals: Sequence[Interval]) -> list[errors.Hint]:
    if not intervals:
        return [
            errors.ask("has any backup finished, and is the WAL between its start and its end in the repository?"),
            errors.run("see what there is: `safepoint backups`"),
        ]
    newest = max(intervals, key=lambda interval: (interval.timeline, interval.start, interval.end))
    is_early = target.time is not None and all(target.time < interval.earliest for interval in intervals)
    question = (
        "was the first backup taken only after that instant?"
        if is_early
        else "is the WAL stream running, and is the time zone meant the one given?"
    )
    return [errors.ask(question), errors.run(f"restore everything there is: `--to {newest.end}`"), *_time_hint(newest)]


def _time_hint(interval: Interval) -> list[errors.Hint]:
    if interval.latest is None:
        return []
    return [errors.run(f"the latest instant that can be proven: `--to {interval.latest.isoformat()}`")]


def _few(intervals: Sequence[Interval]) -> str:
    """The newest and the oldest of what can be reached: what is asked for mostly lies just beyond one of them."""
    ordered = sorted(intervals, key=newness, reverse=True)
    if not ordered:
        return "nothing can"
    between = len(ordered) - 2
    told = [_reachable(ordered[0]), *([f"{between} more"] if between > 0 else []), *map(_reachable, ordered[1:][-1:])]
    return "; ".join(told)


def _more(count: int) -> list[errors.Hint]:
    return [errors.run("see all that can be restored, and what cannot: `safepoint coverage`")] if count > 1 else []


def _reachable(interval: Interval) -> str:
    times = (
        f" ({format_instant(interval.earliest)} … {format_instant(interval.latest)})"
        if interval.latest is not None
        else " (no instant after the backup is proven)"
    )
    return f"from backup {interval.backup_id} {interval.start} … {interval.end} on timeline {interval.timeline}{times}"
