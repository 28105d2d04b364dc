"""`safepoint status` says it while WAL summaries are not believed."""

from __future__ import annotations

from dataclasses import replace

from test_monitoring import ALL_WELL

from safepoint.monitoring.checks import summaries
from safepoint.monitoring.finding import State


def test_summaries_that_are_believed_are_no_news() -> None:
    """No line for what is as it should be: most clusters have none."""
    assert summaries.judge(ALL_WELL) == ()


def test_summaries_that_missed_a_change_are_bad_news() -> None:
    """With what was found, and what ends it."""
    (finding,) = summaries.judge(replace(ALL_WELL, summaries_doubt="WAL summaries did not tell of changed pages"))

    assert finding.state is State.BAD
    assert finding.fact == "WAL summaries did not tell of changed pages"
    assert "--trust-summaries" in finding.cure
