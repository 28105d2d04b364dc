"""The pages of the server were sound when the newest backup was taken.

A backup takes damaged pages as they are, marked: it is the server that must be looked at. Silent while there are none.
"""

from __future__ import annotations

from safepoint.model.measures import format_count
from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.situation import Situation

NAME = "pages"


def judge(situation: Situation) -> tuple[Finding, ...]:
    """Bad while the newest backup met damage, naming the last backup that met none."""
    if not situation.backups or not situation.backups[-1].damaged_pages:
        return ()
    newest = situation.backups[-1]
    before = next((found.id for found in reversed(situation.backups) if not found.damaged_pages), None)
    count = format_count(newest.damaged_pages, "page")
    fact = f"{count} of the server damaged when {newest.id} was taken, the first {newest.first_damage}"
    sound = "no backup is known without them" if before is None else f"the last backup without them is {before}"
    cure = f"look at the server's disk and memory; {sound}"
    return (Finding(check=NAME, state=State.BAD, fact=fact, cure=cure),)
