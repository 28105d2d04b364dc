"""The report of a story that has been played."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from safepoint.evidence.report import Report
from vivr_demo.story import Story
from vivr_shop.commitlog import CommitLog


def report_of(story: Story, log: CommitLog) -> Report:
    """Everything measured, with the acknowledged commits of each second."""
    ended_at = datetime.now(UTC)
    seconds = Counter(int((commit.acknowledged_at - story.began_at).total_seconds()) for commit in log.commits)
    length = int((ended_at - story.began_at).total_seconds()) + 1
    totals = (
        ("acknowledged commits", str(len(log.commits))),
        ("commits without an answer", f"{len(log.unknown)} (neither counted as acknowledged nor as lost)"),
    )
    return Report(
        title="VIVR: changed, backed up, destroyed, recovered",
        began_at=story.began_at,
        ended_at=ended_at,
        facts=(*story.facts, *totals),
        scenarios=tuple(story.judged),
        events=tuple(story.events),
        spans=tuple(story.spans),
        rate=tuple(seconds[second] for second in range(length)),
        commands=tuple(story.terminal.typed),
    )
