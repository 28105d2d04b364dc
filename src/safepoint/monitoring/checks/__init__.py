"""The checks, one file each. Each is a pure function from the situation to its findings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from safepoint.monitoring.checks import (
    backup_age,
    backup_proof,
    migrations,
    pages,
    receiver,
    repository,
    server,
    summaries,
    wal,
)
from safepoint.monitoring.finding import Finding
from safepoint.monitoring.situation import Situation

Check = Callable[[Situation], Sequence[Finding]]

CHECKS: tuple[Check, ...] = (
    server.judge,
    repository.judge,
    backup_age.judge,
    backup_proof.judge,
    pages.judge,
    summaries.judge,
    receiver.judge,
    wal.judge,
    migrations.judge,
)


def judge_all(situation: Situation) -> tuple[Finding, ...]:
    """Every check's findings, in the order of `CHECKS`."""
    return tuple(finding for check in CHECKS for finding in check(situation))
