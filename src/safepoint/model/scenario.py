"""Scenario contracts, what was measured against them, and the verdict's words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum


class Verdict(Enum):
    """kept and broken are measured; everything else is unproven."""

    KEPT = "kept"
    BROKEN = "broken"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioContract:
    """What the strategy promises: back within `rto`, with at most `rpo` of writes lost."""

    name: str
    title: str
    rto: timedelta
    rpo: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioMeasurement:
    """One recovery as it happened.

    `rto` runs from `failed_at` to the first write that was acknowledged afterwards, `rpo` from the oldest
    acknowledged write that is gone to the last instant at which one could be acknowledged (zero when none is gone).
    `lost_commits` of `acknowledged_commits` are gone. None stands for what could not be measured.
    """

    contract: ScenarioContract
    failed_at: datetime
    recovered_at: datetime | None
    rto: timedelta | None
    rpo: timedelta | None
    lost_commits: int | None
    acknowledged_commits: int
    recovered_by: str
    proofs: tuple[str, ...] = ()
