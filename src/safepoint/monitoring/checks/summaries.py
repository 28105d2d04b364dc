"""WAL summaries of the cluster have told of every change that was looked for.

While they are not believed, every backup reads everything: backups are right, and slow. What was found is the graver
matter: a page changed that no WAL tells of, so the disk, the memory or somebody's hand may have changed it.
"""

from __future__ import annotations

from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.situation import Situation

NAME = "summaries"


def judge(situation: Situation) -> tuple[Finding, ...]:
    """Bad from when a page was found changed unawares until somebody has said that they are to be believed again."""
    if not situation.summaries_doubt:
        return ()
    again = f"{situation.backup_command}, with `--trust-summaries`"
    cure = f"find out what changed the page (disk, memory, a tool); then {again}"
    return (Finding(check=NAME, state=State.BAD, fact=situation.summaries_doubt, cure=cure),)
