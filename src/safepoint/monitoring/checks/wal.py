"""WAL reaches the repository: how much would be lost if the server were gone now, measured by the newest mark."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from safepoint.model.measures import format_count, format_duration, format_instant
from safepoint.model.reach import Loss
from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.situation import OtherWalSeen, Situation
from safepoint.monitoring.wal_gaps import describe_loss, judge_losses, past_losses

NAME = "wal"
DEFAULT_RPO = timedelta(hours=1)


def judge(situation: Situation) -> tuple[Finding, ...]:
    """Bad when more than the tightest RPO would be lost or WAL has a gap; unknown without backup or mark.

    Of several repositories the required one that is furthest behind decides.
    """
    if not situation.backups:
        return ()
    unseen = tuple(_unseen(other) for other in situation.other_wal if other.obstacle)
    if situation.wal is None:
        return (*unseen, _exposure(situation, None))
    gaps = _gaps(situation, situation.wal.losses)
    return (*gaps, *unseen, *_late(situation), _exposure(situation, _latest(situation)))


def _latest(situation: Situation) -> datetime | None:
    """The newest instant that every required repository has; None when one of them proves none."""
    others = (other for other in situation.other_wal if other.is_required and not other.obstacle)
    instants = [None if situation.wal is None else situation.wal.latest, *(other.latest for other in others)]
    known = [instant for instant in instants if instant is not None]
    return min(known) if len(known) == len(instants) else None


def _late(situation: Situation) -> tuple[Finding, ...]:
    """A notice of each eventual repository that is further behind than the RPO: it holds nothing back, and may lag."""
    limit = situation.rpo or DEFAULT_RPO
    found: list[Finding] = []
    for other in situation.other_wal:
        if other.is_required or other.obstacle:
            continue
        if other.latest is None or situation.now - other.latest > limit:
            upto = "no proven instant" if other.latest is None else format_instant(other.latest)
            fact = f"eventual repository {other.repository} has WAL up to {upto}"
            found.append(Finding(check=NAME, state=State.NOTICE, fact=fact))
    return tuple(found)


def _unseen(other: OtherWalSeen) -> Finding:
    kind = "required" if other.is_required else "eventual"
    fact = f"{kind} repository {other.repository} could not be asked: {other.obstacle}"
    return Finding(check=NAME, state=State.UNKNOWN, fact=fact)


def _gaps(situation: Situation, losses: tuple[Loss, ...]) -> Iterator[Finding]:
    """Each gap, as `wal status` has it; those that the newest sound backup made an end of in one notice."""
    newest = situation.sound_backups[-1:]
    past = past_losses(losses, newest[0].timeline, newest[0].start) if newest else ()
    yield from judge_losses([loss for loss in losses if loss not in past], (), situation.database, check=NAME)
    ended = [loss for loss in past if loss.is_harmful]
    if ended:
        count = format_count(len(ended), "gap")
        fact = (
            f"{count} before the newest sound backup: from each to the next backup nothing can be restored; the last: "
            f"{describe_loss(ended[-1])}"
        )
        yield Finding(
            check=NAME, state=State.NOTICE, fact=fact, cure=f"see each: `safepoint coverage {situation.database}`"
        )


def _exposure(situation: Situation, latest: datetime | None) -> Finding:
    """How old the newest restorable instant is; where the server's clock was not to be had, by this machine's."""
    cure = situation.wal_command
    if latest is None:
        return Finding(check=NAME, state=State.UNKNOWN, fact="no instant after the backup is proven", cure=cure)
    exposure = max(situation.now - latest, timedelta())
    limit = situation.rpo or DEFAULT_RPO
    fact = f"restorable up to {format_instant(latest)}, {format_duration(exposure)} ago"
    if exposure > limit:
        return Finding(check=NAME, state=State.BAD, fact=f"{fact}; RPO {format_duration(limit)}", cure=cure)
    return Finding(check=NAME, state=State.GOOD, fact=fact)
