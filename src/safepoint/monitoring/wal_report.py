"""WAL of one database on its way, from the servers' slots to what each repository holds: values. Pure.

RPO is measured: the server's clock minus the newest mark that every required repository holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter

from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.reach import Loss
from safepoint.postgres.wal_facts import SlotFacts, WalFacts

DEFAULT_RPO = timedelta(hours=1)
DEFAULT_SLOT_LIMIT = 10 << 30
"""Where neither the strategy, the server nor its disk says how much a slot may hold."""
_FOREVER_SECONDS = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReport:
    """A slot; `limit` bytes may be held for it, `limit_name` says by whom.

    `is_ours`: the receiver's. `is_of_restore`: made for a standby by `safepoint restore --standby`.
    """

    facts: SlotFacts
    is_ours: bool
    limit: int
    limit_name: str
    is_of_restore: bool = False

    def time_left(self, bytes_per_second: float | None) -> timedelta | None:
        """Until the limit is reached at this rate; None where that is not known, or it is reached already."""
        held = self.facts.held_bytes
        if not bytes_per_second or held is None or held >= self.limit:
            return None
        return timedelta(seconds=min((self.limit - held) / bytes_per_second, _FOREVER_SECONDS))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReport:
    """A server that may be the primary; with an obstacle nothing else is known. `skew`: its clock minus this one's."""

    where: str
    obstacle: str = ""
    facts: WalFacts | None = None
    skew: timedelta | None = None
    slots: tuple[SlotReport, ...] = ()

    @property
    def is_primary(self) -> bool:
        """Whether it answered, and is not in recovery."""
        return self.facts is not None and not self.facts.is_in_recovery

    @property
    def archives(self) -> bool:
        """Whether it hands WAL to archive_command."""
        return self.facts is not None and self.facts.archiver.mode != "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryReport:
    """What a repository holds: WAL up to `durable` of the newest timeline, without a hole from the last one on.

    `mark` is the newest, or the newest commit, that no gap parts from what a backup leads to; `lag_bytes` what the
    primary has and it has not; `adopted` is the timeline of the newest adoption; with an obstacle nothing is known.
    `gaps` are those that `coverage` names; of those in `past_gaps` the newest sound backup needs nothing.
    """

    name: str
    is_required: bool
    obstacle: str = ""
    last_segment: str | None = None
    timeline: TimelineId | None = None
    durable: Lsn | None = None
    mark: Mark | None = None
    gaps: tuple[Loss, ...] = ()
    past_gaps: tuple[Loss, ...] = ()
    lag_bytes: int | None = None
    adopted: TimelineId | None = None

    @property
    def open_gaps(self) -> tuple[Loss, ...]:
        """Those that keep instants from being restored until a backup is taken behind them."""
        return tuple(gap for gap in self.harmful if gap not in self.past_gaps)

    @property
    def harmful(self) -> tuple[Loss, ...]:
        """The gaps that concern a backup which is there."""
        return tuple(gap for gap in self.gaps if gap.is_harmful)


@dataclass(frozen=True, slots=True, kw_only=True)
class WalReport:
    """All of it, at `now`: the primary's clock, or where none answered (`is_own_clock`) this machine's.

    `bytes_per_second` is how fast the primary writes WAL, None where that is not known.
    """

    database: str
    now: datetime
    is_own_clock: bool
    slot_name: str
    rpo_limit: timedelta
    servers: tuple[ServerReport, ...]
    repositories: tuple[RepositoryReport, ...]
    bytes_per_second: float | None = None

    @property
    def primary(self) -> WalFacts | None:
        """As `primary_among` the servers."""
        return primary_among(self.servers)

    @property
    def required(self) -> tuple[RepositoryReport, ...]:
        """Without these nothing is acknowledged."""
        return tuple(repository for repository in self.repositories if repository.is_required)

    @property
    def mark(self) -> Mark | None:
        """The newest mark whose WAL every required repository holds; None when one is unknown, or has none."""
        marks = [repository.mark for repository in self.required]
        known = [mark for mark in marks if mark is not None]
        return min(known, key=lambda mark: mark.clock) if known and len(known) == len(marks) else None

    @property
    def way_in(self) -> str:
        """The command by which WAL comes: of a server that archives, and keeps no slot for us, the pusher's."""
        archives = self.primary is not None and self.primary.archiver.mode != "off"
        has_slot = any(slot.is_ours for server in self.servers for slot in server.slots)
        return f"`safepoint wal {'archive' if archives and not has_slot else 'stream'} {self.database}`"

    @property
    def rpo(self) -> timedelta | None:
        """What would be lost if the servers were gone now, at most; None is unknown."""
        return None if self.mark is None else max(self.now - self.mark.clock, timedelta())


def primary_among(servers: Sequence[ServerReport]) -> WalFacts | None:
    """What the server said that is not in recovery, of several the one on the highest timeline."""
    seen = [(server.facts.timeline, server.facts) for server in servers if server.facts is not None]
    found = [(timeline, facts) for timeline, facts in seen if timeline is not None]
    return max(found, key=itemgetter(0))[1] if found else None
