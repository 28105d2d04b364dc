"""Where a recovery shall end: what was asked for, and the one pinned answer. Pure.

Invariants: a pinned recovery names a backup that ended at or before the target and WAL that is held without a hole
from its start to its end; whatever cannot be reached so is refused before anything is touched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import Enum
from typing import Any

from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Coverage, Gap, Interval, WalPath
from safepoint.model.json_value import Json
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.measures import format_instant

BEYOND = timedelta(seconds=2)
"""Commit times are not monotone in WAL: so far beyond a target time WAL is still looked at for commits before it."""


class TargetKind(Enum):
    """What a recovery target is given as."""

    LATEST = "latest"
    LSN = "lsn"
    TIME = "time"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryTarget:
    """What was asked for.

    LATEST: every byte held. LSN: every record that begins before `lsn`. TIME: in the order of WAL everything before
    the first commit later than `time`, so that a commit of that very instant is included, as in PostgreSQL.
    """

    kind: TargetKind
    lsn: Lsn | None = None
    time: datetime | None = None

    def __str__(self) -> str:
        if self.time is not None:
            return format_instant(self.time)
        return "latest" if self.lsn is None else str(self.lsn)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedRecovery:
    """A recovery decided: from which backup, along which WAL, to which end.

    `end` is the LSN that must have been replayed; with a time target it only says where WAL is known to have passed
    that instant, and recovery stops at the first commit after it, before `end` or behind. `path` is the WAL to be had:
    its last leg ends at or after `end`, and recovery never beyond that.
    """

    backup_id: str
    system_identifier: str
    timeline: TimelineId
    target: RecoveryTarget
    end: Lsn
    path: tuple[WalPath, ...]

    @property
    def ending(self) -> str:
        """Where recovery will stop, in words that stay true."""
        if self.target.time is not None:
            return f"the first commit after the target, before {self.path[-1].end}"
        return str(self.end)

    @property
    def wal_bytes(self) -> int:
        """Bytes of WAL between the backup's start and the end."""
        return sum(leg.end - leg.start for leg in self.path)


def parse_target(text: str, *, local: tzinfo | None = None) -> RecoveryTarget:
    """`latest`, an LSN, or an ISO 8601 instant with its zone. RC005 for anything else.

    `local` is the zone in which one without is also read for the hints: by default this machine's.
    """
    if text.strip().lower() == "latest":
        return RecoveryTarget(kind=TargetKind.LATEST)
    try:
        return RecoveryTarget(kind=TargetKind.LSN, lsn=Lsn.parse(text.strip()))
    except ValueError:
        return _parse_time(text.strip(), local)


def choose(
    target: RecoveryTarget,
    coverage: Coverage,
    backups: Sequence[BackupManifest],
    *,
    timeline: TimelineId | None = None,
    damaged: Collection[str] = (),
) -> PinnedRecovery:
    """The recovery from the newest backup that reaches the target, on the newest timeline unless one is given.

    Backups whose id is in `damaged` are passed over. RC001 when none is left, saying what can be reached, and from
    which of the damaged.
    """
    by_id = {backup.id: backup for backup in backups}
    wanted = [
        interval
        for interval in coverage.intervals
        if timeline in {None, interval.timeline} and interval.backup_id in by_id
    ]
    reaching = sorted((interval for interval in wanted if _reaches(interval, target)), key=_newness)
    if not reaching:
        raise _unreachable(target, wanted, coverage.gaps)
    leading = _leading_as_far(reaching, target)
    interval = next((found for found in leading if found.backup_id not in damaged), None)
    if interval is None:
        raise _only_damaged(target, leading, [found for found in wanted if found.backup_id not in damaged])
    if target.kind is TargetKind.LATEST:
        _refuse_hole_after(interval, coverage.gaps)
    return _pin(interval, target, by_id[interval.backup_id])


def passed_over(pinned: PinnedRecovery, coverage: Coverage, damaged: Collection[str]) -> tuple[str, ...]:
    """Ids of the damaged backups that `choose` would have preferred, oldest first."""
    reaching = sorted(
        (
            interval
            for interval in coverage.intervals
            if interval.timeline == pinned.timeline and _reaches(interval, pinned.target)
        ),
        key=_newness,
    )
    names = [interval.backup_id for interval in reaching]
    newer = names[names.index(pinned.backup_id) + 1 :]
    return tuple(name for name in newer if name in damaged)


def pinned_to_json(pinned: PinnedRecovery) -> dict[str, Json]:
    """As it stands in a plan's arguments; `pinned_from_json` gives back an equal value."""
    target = pinned.target
    return {
        "backup": pinned.backup_id,
        "system_identifier": pinned.system_identifier,
        "timeline": pinned.timeline.value,
        "target": {
            "kind": target.kind.value,
            "lsn": None if target.lsn is None else str(target.lsn),
            "time": None if target.time is None else target.time.isoformat(),
        },
        "end": str(pinned.end),
        "path": [[leg.timeline.value, str(leg.start), str(leg.end)] for leg in pinned.path],
    }


def pinned_from_json(value: Any) -> PinnedRecovery:
    """The value that `pinned_to_json` wrote."""
    target = value["target"]
    return PinnedRecovery(
        backup_id=value["backup"],
        system_identifier=value["system_identifier"],
        timeline=TimelineId(value["timeline"]),
        target=RecoveryTarget(
            kind=TargetKind(target["kind"]),
            lsn=None if target["lsn"] is None else Lsn.parse(target["lsn"]),
            time=None if target["time"] is None else datetime.fromisoformat(target["time"]),
        ),
        end=Lsn.parse(value["end"]),
        path=tuple(
            WalPath(timeline=TimelineId(leg[0]), start=Lsn.parse(leg[1]), end=Lsn.parse(leg[2]))
            for leg in value["path"]
        ),
    )


def _parse_time(text: str, local: tzinfo | None) -> RecoveryTarget:
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            raise _without_zone(text, instant, local)
        instant = instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise errors.RC005.error(
            f"found {text!r}, expected `latest`, an LSN like 0/3000028 or a time like 2026-03-01T02:10:07+00:00",
            hints=[errors.run("write the time in ISO 8601 with its zone: `--to 2026-03-01T02:10:07+01:00`")],
        ) from error
    return RecoveryTarget(kind=TargetKind.TIME, time=instant)


def _without_zone(text: str, instant: datetime, local: tzinfo | None) -> errors.SafepointError:
    here = instant.astimezone() if local is None else instant.replace(tzinfo=local)
    hints = [errors.run(f"if it is UTC: `--to '{instant.isoformat()}Z'`")]
    if here.utcoffset():
        hints.append(errors.run(f"if it is this machine's time: `--to '{here.isoformat()}'`"))
    else:
        hints.append(errors.run(f"if it is another zone's, with its offset: `--to '{instant.isoformat()}+01:00'`"))
    return errors.RC005.error(f"found no zone in {text!r}, expected one as in …Z or …+01:00", hints=hints)


def _reaches(interval: Interval, target: RecoveryTarget) -> bool:
    if target.lsn is not None:
        return interval.start <= target.lsn <= interval.end and _is_on_last_leg_or_before(interval, target.lsn)
    if target.time is not None:
        return interval.latest is not None and interval.earliest <= target.time <= interval.latest
    return True


def _is_on_last_leg_or_before(interval: Interval, lsn: Lsn) -> bool:
    """Whether the position lies on the interval's own timeline; before the switch a simpler interval reaches it."""
    return lsn >= interval.path[-1].start


def _newness(interval: Interval) -> tuple[TimelineId, Lsn]:
    return interval.timeline, interval.start


def _leading_as_far(reaching: Sequence[Interval], target: RecoveryTarget) -> list[Interval]:
    """Those that lead to the very same state as the newest, which is the last given; newest first.

    Another timeline is another history, and what ends earlier is not the latest.
    """
    newest = reaching[-1]
    return [
        interval
        for interval in reversed(reaching)
        if interval.timeline == newest.timeline and (target.kind is not TargetKind.LATEST or interval.end >= newest.end)
    ]


def _pin(interval: Interval, target: RecoveryTarget, backup: BackupManifest) -> PinnedRecovery:
    if target.lsn is not None:
        end, needed = target.lsn, target.lsn
    elif target.time is not None:
        end = _first_mark(interval, target.time)
        needed = _first_mark(interval, target.time + BEYOND)
    else:
        end = needed = interval.end
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


def _first_mark(interval: Interval, instant: datetime) -> Lsn:
    """The first position known to lie past the instant; the last one known when none does."""
    return next((mark.lsn for mark in interval.marks if mark.clock >= instant), interval.marks[-1].lsn)


def _refuse_hole_after(interval: Interval, gaps: Iterable[Gap]) -> None:
    for gap in gaps:
        if gap.timeline > interval.timeline or (gap.timeline == interval.timeline and gap.start == interval.end):
            raise errors.RC001.error(
                f"found a WAL gap from {gap.start} up to {gap.end} on timeline {gap.timeline} with more WAL behind it, "
                "expected none after the newest backup: `latest` would silently lose what follows",
                hints=[
                    errors.ask("was the WAL stream cut off there, or an object deleted or damaged in the repository?"),
                    errors.run(f"restore what leads up to it on purpose: `--to {interval.end}`"),
                    *_time_hint(interval),
                ],
            )


def _unreachable(target: RecoveryTarget, intervals: Sequence[Interval], gaps: Sequence[Gap]) -> errors.SafepointError:
    reachable = "; ".join(_reachable(interval) for interval in intervals) or "nothing"
    holes = "".join(f"; WAL is missing from {gap.start} up to {gap.end} on timeline {gap.timeline}" for gap in gaps)
    return errors.RC001.error(
        f"found target {target}, expected one that can be reached: {reachable}{holes}",
        hints=_unreachable_hints(target, intervals),
    )


def _only_damaged(
    target: RecoveryTarget, leading: Sequence[Interval], sound: Sequence[Interval]
) -> errors.SafepointError:
    newest = leading[0].backup_id
    names = ", ".join(dict.fromkeys(interval.backup_id for interval in leading))
    reachable = "; ".join(_reachable(interval) for interval in sound) or "nothing"
    hints = [
        errors.run(f"check it again, should the store have lied: `safepoint verify --backup {newest}`"),
        errors.run(f"try it all the same, every file is checked as it is written: `--backup {newest}`"),
    ]
    if sound:
        hints.append(errors.run(f"restore what sound backups reach: `--to {max(sound, key=_newness).end}`"))
    return errors.RC001.error(
        f"found target {target} reached only from backups that their last verification found damaged ({names}), "
        f"expected a sound one; sound ones reach: {reachable}",
        hints=hints,
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


def _reachable(interval: Interval) -> str:
    times = (
        f" ({format_instant(interval.earliest)} … {format_instant(interval.latest)})"
        if interval.latest is not None
        else " (no instant after the backup is proven)"
    )
    return f"from backup {interval.backup_id} {interval.start} … {interval.end} on timeline {interval.timeline}{times}"
