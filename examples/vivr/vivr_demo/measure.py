"""What a recovery cost, from recorded events alone: the shoppers' log and the recovered database, row by row."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psycopg

from safepoint.model.scenario import ScenarioContract, ScenarioMeasurement
from vivr_shop.commitlog import Commit, CommitLog
from vivr_shop.missing import missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """`failed_at`: what RTO counts from. `closed_at`: the last instant at which a write could be acknowledged.

    `target`: the instant that was restored to, where one was named.
    """

    failed_at: datetime
    closed_at: datetime
    target: datetime | None = None


@dataclass(slots=True)
class Books:
    """Which acknowledged commits earlier scenarios have already cost."""

    lost: set[int] = field(default_factory=set[int])

    def settle(
        self,
        connection: psycopg.Connection,
        log: CommitLog,
        outage: Outage,
        *,
        contract: ScenarioContract,
        first_write: Commit,
        recovered_by: str,
        proofs: tuple[str, ...],
    ) -> ScenarioMeasurement:
        """Looks for the rows of every commit acknowledged before the outage, and counts those that are gone."""
        owed = [commit for commit in log.commits if commit.sent_at < outage.closed_at and commit.n not in self.lost]
        if not owed:
            raise ValueError("found no acknowledged commits before the outage, expected the shoppers to have shopped")
        gone = missing(connection, owed)
        exactness = _prove_exact(owed, gone, outage.target) if outage.target else ()
        self.lost.update(commit.n for commit in gone)
        rpo = _span(gone, outage.closed_at)
        return ScenarioMeasurement(
            contract=contract,
            failed_at=outage.failed_at,
            recovered_at=first_write.acknowledged_at,
            rto=first_write.acknowledged_at - outage.failed_at,
            rpo=rpo,
            lost_commits=len(gone),
            acknowledged_commits=len(owed),
            recovered_by=recovered_by,
            proofs=(
                f"every row of {len(owed) - len(gone)} acknowledged commits was looked up by key and found",
                f"{len(gone)} acknowledged commits are gone: {_named(gone)}",
                *exactness,
                *proofs,
            ),
        )


def _prove_exact(owed: list[Commit], gone: list[Commit], target: datetime) -> tuple[str, ...]:
    """Nothing acknowledged before the target is missing, nothing sent after it is there; ValueError otherwise."""
    lost = {commit.n for commit in gone}
    too_few = [commit for commit in gone if commit.acknowledged_at < target]
    too_many = [commit for commit in owed if commit.sent_at > target and commit.n not in lost]
    if too_few or too_many:
        raise ValueError(
            f"found {len(too_few)} commits of before {target.isoformat()} missing and {len(too_many)} of after it "
            "restored, expected none of either"
        )
    before = sum(commit.acknowledged_at < target for commit in owed)
    after = sum(commit.sent_at > target for commit in owed)
    return (f"to the instant: all {before} commits acknowledged before the target are there, none of {after} after it",)


def _span(gone: list[Commit], closed_at: datetime) -> timedelta:
    """From the oldest lost commit to the end of service; zero when none is lost."""
    oldest = min((commit.acknowledged_at for commit in gone), default=closed_at)
    return max(closed_at - oldest, timedelta())


def _named(gone: list[Commit]) -> str:
    ordered = sorted(gone, key=lambda commit: commit.acknowledged_at)
    shown = [f"{commit.kind} {next(iter(commit.ids.values()))[0]}" for commit in ordered[:3]]
    more = len(ordered) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "") if ordered else "none"
