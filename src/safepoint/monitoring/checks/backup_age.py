"""There is a backup not known to be damaged, and it is not older than a day and two hours.

That is a daily schedule with room for the run itself.
"""

from __future__ import annotations

from datetime import timedelta

from safepoint.model.measures import format_duration
from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.situation import Situation

NAME = "backup"
OLDEST = timedelta(days=1, hours=2)


def judge(situation: Situation) -> tuple[Finding, ...]:
    """Bad when there is none or the newest is too old; unknown without a repository that can be looked into."""
    if not situation.has_repository:
        return (_finding(State.UNKNOWN, "no repository", "add [repository.main] to the strategy file"),)
    if situation.repository_obstacle:
        is_told = situation.repository is not None and situation.repository.obstacle == situation.repository_obstacle
        cure = "" if is_told else "`safepoint backups`"
        fact = "unknown while the repository does not open" if is_told else situation.repository_obstacle
        return (_finding(State.UNKNOWN, fact, cure),)
    cure = situation.backup_command
    if not situation.sound_backups:
        lacks = "no backup but damaged ones" if situation.backups else "no backup"
        return (_finding(State.BAD, lacks, cure),)
    newest = situation.sound_backups[-1]
    age = situation.now - newest.stopped_at
    fact = f"{newest.id} ({newest.tier}) ended {format_duration(age)} ago, {len(situation.sound_backups)} in all"
    return (_finding(State.GOOD, fact) if age <= OLDEST else _finding(State.BAD, fact, cure),)


def _finding(state: State, fact: str, cure: str = "") -> Finding:
    return Finding(check=NAME, state=state, fact=fact, cure=cure)
