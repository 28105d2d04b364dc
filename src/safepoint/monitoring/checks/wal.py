"""WAL reaches the repository: how much would be lost if the server were gone now, measured by the newest mark."""

from __future__ import annotations

from datetime import timedelta

from safepoint.model.measures import format_duration, format_instant
from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.situation import Situation

NAME = "wal"
DEFAULT_RPO = timedelta(hours=1)


def judge(situation: Situation) -> tuple[Finding, ...]:
    """Bad when more than the tightest RPO would be lost or WAL has a gap; unknown without backup or mark."""
    if not situation.backups:
        return ()
    cure = f"`safepoint wal stream {situation.database}`"
    if situation.wal is None or situation.wal.latest is None:
        return (Finding(check=NAME, state=State.UNKNOWN, fact="no instant after the backup is proven", cure=cure),)
    gaps = [
        Finding(
            check=NAME,
            state=State.BAD,
            fact=f"WAL gap on timeline {gap.timeline}: {gap.start} up to {gap.end} is not held",
            cure=f"take a new backup: `safepoint backup {situation.database} --tier daily`",
        )
        for gap in situation.wal.gaps
    ]
    exposure = max(situation.now - situation.wal.latest, timedelta())
    limit = situation.rpo or DEFAULT_RPO
    fact = f"restorable up to {format_instant(situation.wal.latest)}, {format_duration(exposure)} ago"
    if exposure > limit:
        late = f"{fact}; RPO {format_duration(limit)}"
        return (*gaps, Finding(check=NAME, state=State.BAD, fact=late, cure=cure))
    return (*gaps, Finding(check=NAME, state=State.GOOD, fact=fact))
