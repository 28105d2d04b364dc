"""How often a unit is tried, how long is waited in between, and what PostgreSQL's refusals mean."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg

from safepoint.migration.deploy.settings import LockBudget

RETRYABLE = frozenset({"55P03", "40P01", "40001"})
"""lock_not_available, deadlock_detected, serialization_failure: the unit was rolled back and may run again as it is."""

_GROWTH_LIMIT = 8

Sleep = Callable[[float], None]


class Patience:
    """The budget of one unit: it begins with the object and ends after `locks.total`."""

    def __init__(self, locks: LockBudget, *, sleep: Sleep = time.sleep) -> None:
        self.locks = locks
        self.attempts = 0
        self._sleep = sleep
        self._began = time.monotonic()

    @property
    def spent(self) -> timedelta:
        """Since the beginning."""
        return timedelta(seconds=time.monotonic() - self._began)

    @property
    def left(self) -> timedelta:
        """Never negative."""
        return max(timedelta(), self.locks.total - self.spent)

    def allows_another(self) -> bool:
        """Whether a pause and another attempt still fit; if so, the pause is over when this returns."""
        self.attempts += 1
        seconds = pause_after(self.attempts, self.locks.timeout.total_seconds(), random.random())  # noqa: S311
        if timedelta(seconds=seconds) >= self.left:
            return False
        self._sleep(seconds)
        return True

    def wait_a_little(self, seconds: float = 0.1) -> bool:
        """Polls: False once the budget is spent."""
        if not self.left:
            return False
        self._sleep(min(seconds, self.left.total_seconds()))
        return True


def pause_after(attempt: int, timeout: float, chance: float) -> float:
    """Seconds between attempt `attempt` and the next, `chance` in [0, 1).

    At least `timeout`, for that long did traffic queue behind us and it needs as much to drain; growing, so that many
    failures cost little; jittered, so that two deployments do not march in step.
    """
    return timeout * min(2 ** (attempt - 1), _GROWTH_LIMIT) * (1 + chance)


def is_lost(connection: psycopg.Connection[Any]) -> bool:
    """Whether the session is gone: what its last statement did is then unknown."""
    return connection.closed or connection.broken


def is_retryable(error: psycopg.Error) -> bool:
    """Whether the unit may simply be tried again."""
    return error.sqlstate in RETRYABLE
