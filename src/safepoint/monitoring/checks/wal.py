"""WAL reaches the repository: how much would be lost if the server were gone now, measured by the newest mark."""

from __future__ import annotations

from datetime import datetime, timedelta

from safepoint.model.coverage import Gap
from safepoint.model.measures import format_duration, format_instant
from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.situation import OtherWalSeen, Situation

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
    past = tuple(gap for gap in situation.wal.gaps if _is_past(situation, gap))
    open_gaps = tuple(_gap(situation, gap) for gap in situation.wal.gaps if gap not in past)
    return (*open_gaps, *_history(past), *unseen, *_late(situation), _exposure(situation, _latest(situation)))


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


def _is_past(situation: Situation, gap: Gap) -> bool:
    """Whether the newest sound backup needs nothing of it: then only instants before that backup are lost."""
    if not situation.sound_backups:
        return False
    newest = situation.sound_backups[-1]
    return gap.timeline < newest.timeline or (gap.timeline == newest.timeline and gap.end <= newest.start)


def _history(gaps: tuple[Gap, ...]) -> tuple[Finding, ...]:
    """A notice: nothing can mend it, and a newer backup has made an end of it."""
    if not gaps:
        return ()
    last = gaps[-1]
    count = "a WAL gap" if len(gaps) == 1 else f"{len(gaps)} WAL gaps"
    fact = (
        f"{count} before the newest sound backup, the last on timeline {last.timeline} from {last.start} "
        f"up to {last.end}: from there to the next backup nothing can be restored"
    )
    return (Finding(check=NAME, state=State.NOTICE, fact=fact),)


def _gap(situation: Situation, gap: Gap) -> Finding:
    return Finding(
        check=NAME,
        state=State.BAD,
        fact=f"WAL gap on timeline {gap.timeline}: {gap.start} up to {gap.end} is not held",
        cure=f"take a new backup: {situation.backup_command}",
    )


def _exposure(situation: Situation, latest: datetime | None) -> Finding:
    """How old the newest restorable instant is; where the server's clock was not to be had, by this machine's."""
    cure = f"`safepoint wal stream {situation.database}`"
    if latest is None:
        return Finding(check=NAME, state=State.UNKNOWN, fact="no instant after the backup is proven", cure=cure)
    exposure = max(situation.now - latest, timedelta())
    limit = situation.rpo or DEFAULT_RPO
    fact = f"restorable up to {format_instant(latest)}, {format_duration(exposure)} ago"
    if exposure > limit:
        return Finding(check=NAME, state=State.BAD, fact=f"{fact}; RPO {format_duration(limit)}", cure=cure)
    return Finding(check=NAME, state=State.GOOD, fact=fact)
