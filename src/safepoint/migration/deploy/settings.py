"""What the strategy says about deployments, as values that go into the plan's steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from safepoint.model.json_value import JsonObject
from safepoint.model.safety import SafetyDemand


@dataclass(frozen=True, slots=True, kw_only=True)
class LockBudget:
    """How long one attempt may wait for a lock, and how long all attempts at one unit together."""

    timeout: timedelta = timedelta(seconds=2)
    total: timedelta = timedelta(minutes=5)

    @property
    def timeout_ms(self) -> int:
        """As `lock_timeout` takes it; at least 1, because 0 would mean for ever."""
        return max(1, round(self.timeout / timedelta(milliseconds=1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploySettings:
    """`[migrate]` of the strategy, and the reason for which a person goes without a backup (None: they do not)."""

    locks: LockBudget = field(default_factory=LockBudget)
    safety: SafetyDemand = field(default_factory=SafetyDemand)
    without_backup: str | None = None


def locks_to_json(locks: LockBudget) -> JsonObject:
    """Seconds, for a step's arguments."""
    return {"timeout": locks.timeout.total_seconds(), "total": locks.total.total_seconds()}


def locks_from_json(value: Any) -> LockBudget:
    """What `locks_to_json` wrote."""
    return LockBudget(timeout=timedelta(seconds=value["timeout"]), total=timedelta(seconds=value["total"]))
