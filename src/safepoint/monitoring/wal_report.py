"""WAL of one database on its way, from the servers' slots to what each repository holds: values, and a judgement. Pure.

RPO is measured: the server's clock minus the newest mark that every required repository holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter

from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.measures import format_bytes, format_count, format_duration, format_instant
from safepoint.model.reach import Loss
from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.wal_gaps import judge_losses
from safepoint.postgres.wal_facts import ArchiverFacts, SlotFacts, WalFacts

DEFAULT_RPO = timedelta(hours=1)
SKEW_LIMIT = timedelta(seconds=5)
"""Between this machine's clock and a server's: more makes times in reports hard to compare."""
DEFAULT_SLOT_LIMIT = 10 << 30
"""Where neither the strategy, the server nor its disk says how much a slot may hold."""
_FOREVER_SECONDS = 1e9
_LOST = "lost"
_BAD_STATUS = {_LOST: "is lost: the server has removed WAL that was not received", "unreserved": "may be lost at once"}


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


def judge_wal(report: WalReport) -> tuple[Finding, ...]:
    """Bad news first of the RPO, then of each server, then of each repository; what could not be seen is unknown."""
    return (
        _exposure(report),
        *(finding for server in report.servers for finding in _of_server(report, server)),
        *(finding for repository in report.repositories for finding in _of_repository(report, repository)),
    )


def _exposure(report: WalReport) -> Finding:
    cure = report.way_in
    if report.rpo is None or report.mark is None:
        lacking = [repository.name for repository in report.required if repository.mark is None]
        fact = f"RPO unknown: neither a mark nor a commit is held by {', '.join(lacking) or 'any repository'}"
        return Finding(check="rpo", state=State.UNKNOWN, fact=fact, cure=cure)
    by = " by this machine's clock" if report.is_own_clock else ""
    fact = (
        f"RPO {format_duration(report.rpo)}{by}: every commit up to {format_instant(report.mark.clock)} is in all "
        f"required repositories{_until_gap(report)}"
    )
    if report.rpo > report.rpo_limit:
        return Finding(
            check="rpo", state=State.BAD, fact=f"{fact}; allowed are {format_duration(report.rpo_limit)}", cure=cure
        )
    return Finding(check="rpo", state=State.UNKNOWN if report.is_own_clock else State.GOOD, fact=fact)


def _until_gap(report: WalReport) -> str:
    """What is held behind a gap is no protection before a new backup."""
    names = [repository.name for repository in report.required if repository.open_gaps]
    return f"; after that {', '.join(names)} {'has' if len(names) == 1 else 'have'} a gap" if names else ""


def _of_server(report: WalReport, server: ServerReport) -> Iterator[Finding]:
    if server.obstacle:
        yield Finding(check="server", state=State.UNKNOWN, fact=f"{server.where}: {server.obstacle}")
        return
    if server.skew is not None and abs(server.skew) > SKEW_LIMIT:
        direction = "ahead of" if server.skew > timedelta() else "behind"
        fact = f"{server.where}: its clock is {format_duration(abs(server.skew))} {direction} this machine's"
        yield Finding(check="clock", state=State.BAD, fact=fact, cure="set both by NTP")
    ours = next((slot for slot in server.slots if slot.is_ours), None)
    if ours is None:
        yield _no_slot(report, server)
    for slot in server.slots:
        yield from _of_slot(report, server, slot)
    if server.facts is not None and server.is_primary:
        yield from _of_archiver(server, server.facts.archiver)


def _no_slot(report: WalReport, server: ServerReport) -> Finding:
    state = State.NOTICE if server.archives or (not server.is_primary and report.primary is None) else State.BAD
    kept = "WAL comes by archive_command" if server.archives else "nothing keeps WAL for the receiver"
    fact = f"{server.where}: no slot {report.slot_name}: {kept}"
    cure = "" if server.archives else f"`safepoint wal stream {report.database}`, and keep it running"
    return Finding(check="slot", state=state, fact=fact, cure=cure)


def _of_slot(report: WalReport, server: ServerReport, slot: SlotReport) -> Iterator[Finding]:
    facts = slot.facts
    held = "an unknown amount" if facts.held_bytes is None else format_bytes(max(0, facts.held_bytes))
    told = f"{server.where}: slot {facts.name} holds {held}"
    stream = f"`safepoint wal stream {report.database}`"
    if facts.wal_status in _BAD_STATUS:
        fact = f"{server.where}: slot {facts.name} {_BAD_STATUS[facts.wal_status]}"
        yield Finding(check="slot", state=State.BAD, fact=fact, cure=_cure_of_bad(report, slot))
    elif facts.held_bytes is not None and facts.held_bytes > slot.limit:
        fact = f"{told}, more than {slot.limit_name} of {format_bytes(slot.limit)}"
        cure = _drop(slot) if slot.is_of_restore else "see what keeps its reader: the disk may fill"
        yield Finding(check="slot", state=State.BAD, fact=fact, cure=cure)
    elif slot.is_of_restore and not facts.is_active:
        fact = f"{told}, and no standby is connected to it: a restore made it"
        yield Finding(check="slot", state=State.NOTICE, fact=fact, cure=_drop(slot))
    elif slot.is_ours and server.is_primary and not facts.is_active:
        time_left = slot.time_left(report.bytes_per_second)
        left = "" if time_left is None else f"; {slot.limit_name} reached in {format_duration(time_left)}"
        fact = f"{told}, and no receiver is connected to it{left}"
        yield Finding(check="slot", state=State.BAD, fact=fact, cure=f"{stream}, and keep it running")
    elif slot.is_ours:
        yield Finding(check="slot", state=State.GOOD, fact=f"{told} of at most {format_bytes(slot.limit)}")


def _cure_of_bad(report: WalReport, slot: SlotReport) -> str:
    """What was removed does not come back; what may be removed can be fetched before it is."""
    if not slot.is_ours:
        return _drop(slot)
    stream = f"safepoint wal stream {report.database}"
    if slot.facts.wal_status != _LOST:
        return f"`{stream}` at once, and keep it running"
    return f"`{stream} --accept-gap`, and a new backup at once: `safepoint backup {report.database}`"


def _drop(slot: SlotReport) -> str:
    return f"unless its reader comes back, drop it there: `SELECT pg_drop_replication_slot('{slot.facts.name}')`"


def _of_archiver(server: ServerReport, archiver: ArchiverFacts) -> Iterator[Finding]:
    if archiver.mode == "off":
        return
    waiting = "" if archiver.ready is None else f"; {format_count(archiver.ready, 'file')} waiting"
    if archiver.is_failing:
        at = "" if archiver.last_failed_at is None else f" at {format_instant(archiver.last_failed_at)}"
        fact = f"{server.where}: archiving fails, last of {archiver.last_failed}{at}{waiting}"
        yield Finding(check="archiver", state=State.BAD, fact=fact, cure="see what its log says of the command")
    else:
        fact = f"{server.where}: archived {archiver.last_archived or 'nothing yet'}{waiting}"
        yield Finding(check="archiver", state=State.GOOD, fact=fact)


def _of_repository(report: WalReport, repository: RepositoryReport) -> Iterator[Finding]:
    kind = "required" if repository.is_required else "eventual"
    name = f"{repository.name} ({kind})"
    if repository.obstacle:
        yield Finding(check="repository", state=State.UNKNOWN, fact=f"{name}: {repository.obstacle}")
        return
    timeline = None if report.primary is None else report.primary.timeline
    if timeline is not None and repository.adopted is not None and timeline < repository.adopted:
        fact = (
            f"{name}: timeline {repository.adopted} was adopted, and the primary is on {timeline}: it is not followed"
        )
        cure = f"name the server that was adopted, or `safepoint wal adopt {report.database} --url URL`"
        yield Finding(check="adoption", state=State.BAD, fact=fact, cure=cure)
    yield from judge_losses(repository.gaps, repository.past_gaps, report.database, check="gap", where=f"{name}: ")
    if repository.durable is None:
        state = State.BAD if repository.is_required else State.NOTICE
        cure = report.way_in
        yield Finding(check="repository", state=state, fact=f"{name}: holds no WAL of this cluster", cure=cure)
        return
    behind = "" if repository.lag_bytes is None else f", {format_bytes(max(0, repository.lag_bytes))} behind"
    fact = f"{name}: timeline {repository.timeline} up to {repository.durable}{behind}"
    yield Finding(check="repository", state=State.GOOD, fact=fact)
