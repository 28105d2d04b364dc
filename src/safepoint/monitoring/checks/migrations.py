"""Each application's migrations: none failed, none edited; pending ones are told, not judged."""

from __future__ import annotations

from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.situation import MigrationsSeen, Situation

NAME = "migrations"
CURE = "`safepoint migrate status`"


def judge(situation: Situation) -> tuple[Finding, ...]:
    """One finding for each application."""
    return tuple(_finding(seen) for seen in situation.migrations)


def _finding(seen: MigrationsSeen) -> Finding:
    if seen.obstacle:
        return Finding(check=NAME, state=State.UNKNOWN, fact=f"{seen.application}: {seen.obstacle}", cure=CURE)
    if seen.failed or seen.edited:
        told = ", ".join([*(f"{name} failed" for name in seen.failed), *(f"{name} was edited" for name in seen.edited)])
        return Finding(check=NAME, state=State.BAD, fact=f"{seen.application}: {told}", cure=CURE)
    fact = f"{seen.application}: {seen.applied} applied, {len(seen.pending)} pending"
    return Finding(check=NAME, state=State.GOOD, fact=fact)
