"""What is good and bad of WAL on its way: the RPO, each server's slots and archiver, each repository. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from safepoint.model.measures import format_bytes, format_count, format_duration, format_instant
from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.wal_gaps import judge_losses
from safepoint.monitoring.wal_report import RepositoryReport, ServerReport, SlotReport, WalReport
from safepoint.postgres.wal_facts import WalFacts

SKEW_LIMIT = timedelta(seconds=5)
"""Between this machine's clock and a server's: more makes times in reports hard to compare."""
ARCHIVER_PATIENCE = timedelta(minutes=1)
"""The archiver looks for work at once when there is some, and once a minute in any case (PGARCH_AUTOWAKE_INTERVAL)."""
_LOST = "lost"
_BAD_STATUS = {_LOST: "is lost: the server has removed WAL that was not received", "unreserved": "may be lost at once"}


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
        yield from _of_archiver(server, server.facts)


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


def _of_archiver(server: ServerReport, facts: WalFacts) -> Iterator[Finding]:
    archiver = facts.archiver
    if archiver.mode == "off":
        return
    waiting = "" if archiver.ready is None else f"; {format_count(archiver.ready, 'file')} waiting"
    idle = _idle_time(facts)
    if archiver.is_failing:
        at = "" if archiver.last_failed_at is None else f" at {format_instant(archiver.last_failed_at)}"
        fact = f"{server.where}: archiving fails, last of {archiver.last_failed}{at}{waiting}"
        yield Finding(check="archiver", state=State.BAD, fact=fact, cure="see what its log says of the command")
    elif idle is not None and idle > ARCHIVER_PATIENCE:
        fact = f"{server.where}: nothing archived for {format_duration(idle)}{waiting}, and no failure is counted"
        cure = "does `archive_command` name a program that is there, and hang? see the server's log"
        yield Finding(check="archiver", state=State.BAD, fact=fact, cure=cure)
    else:
        is_proven = archiver.last_archived is not None or not archiver.ready
        fact = f"{server.where}: archived {archiver.last_archived or 'nothing yet'}{waiting}"
        yield Finding(check="archiver", state=State.GOOD if is_proven else State.UNKNOWN, fact=fact)


def _idle_time(facts: WalFacts) -> timedelta | None:
    """How long nothing was archived though something waited; None where nothing waits, or nobody may look."""
    archiver = facts.archiver
    if archiver.ready_since is None:
        return None
    return facts.clock - max(archiver.ready_since, archiver.last_archived_at or archiver.ready_since)


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
