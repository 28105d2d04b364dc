"""`safepoint wal status`: slots and archiver of each server, and what of its WAL each repository holds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from operator import attrgetter
from pathlib import Path

import psycopg

from safepoint.backup.candidates import servers_of, where
from safepoint.backup.coverage import marks_by_timeline, spans_of
from safepoint.errors import SafepointError
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Mark, WalPiece
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.measures import Clock, system_clock
from safepoint.model.reach import Loss
from safepoint.monitoring.wal_gaps import past_losses
from safepoint.monitoring.wal_report import (
    DEFAULT_RPO,
    DEFAULT_SLOT_LIMIT,
    RepositoryReport,
    ServerReport,
    SlotReport,
    WalReport,
    primary_among,
)
from safepoint.postgres.connect import connect
from safepoint.postgres.replication import slot_name
from safepoint.postgres.url import DatabaseUrl
from safepoint.postgres.wal_facts import WalFacts, fetch_wal_facts
from safepoint.recovery.slot import STANDBY_SLOTS
from safepoint.repository import Repository
from safepoint.strategy import DatabaseStrategy, RepositoryMode, RepositoryStrategy
from safepoint.workflows.held import NOT_READ, backups_of, proofs_of
from safepoint.workflows.project import Project
from safepoint.workflows.stream import replicas_of
from safepoint.workflows.wal_losses import is_doubtful, look_at_cluster_wal

_FAIR_SECONDS = 30.0
"""A rate is measured over so long at least."""


def look_at_wal(project: Project, name: str | None, *, clock: Clock = system_clock) -> WalReport:
    """How the WAL of a database fares; CF004, CF006. What does not answer is said in its place."""
    database = project.self_managed(name)
    repositories = project.strategy.wal_repositories(database.name)
    servers = tuple(_server_report(project, database, server, clock) for server in _servers(project, database))
    primary = primary_among(servers)
    cluster = primary.system_identifier if primary is not None else None
    held = [_look_at_repository(project, database.name, repository, cluster, primary) for repository in repositories]
    oldest = min((mark for _, marks in held for mark in marks[:1]), key=lambda mark: mark.clock, default=None)
    return WalReport(
        database=database.name,
        now=clock() if primary is None else primary.clock,
        is_own_clock=primary is None,
        slot_name=slot_name(database.name),
        rpo_limit=min((scenario.rpo for scenario in project.strategy.scenarios), default=DEFAULT_RPO),
        servers=servers,
        repositories=tuple(report for report, _ in held),
        bytes_per_second=_rate(primary, oldest),
    )


def _servers(project: Project, database: DatabaseStrategy) -> tuple[DatabaseUrl, ...]:
    return servers_of((project.database_url(database), *replicas_of(project, database)))


def _ask(server: DatabaseUrl, clock: Clock) -> tuple[WalFacts, timedelta]:
    """The facts, and how far the server's clock is ahead of this one's."""
    with connect(server.with_parameters(connect_timeout="5")) as connection:
        fetch_wal_facts(connection)  # the second time nothing has to be planned or loaded
        before = clock()
        facts = fetch_wal_facts(connection)
        after = clock()
    if before <= facts.clock <= after:
        return facts, timedelta()
    return facts, facts.clock - before if facts.clock < before else facts.clock - after


def _rate(primary: WalFacts | None, mark: Mark | None) -> float | None:
    """Bytes a second since the mark, when that was long enough ago."""
    if primary is None or primary.position is None or mark is None:
        return None
    seconds = (primary.clock - mark.clock).total_seconds()
    return None if seconds < _FAIR_SECONDS else max(0.0, (primary.position - mark.lsn) / seconds)


def _server_report(project: Project, database: DatabaseStrategy, server: DatabaseUrl, clock: Clock) -> ServerReport:
    """What it says, or what kept that from being had."""
    try:
        facts, skew = _ask(server, clock)
    except SafepointError as error:
        return ServerReport(where=where(server), obstacle=error.message)
    except psycopg.Error as error:
        return ServerReport(where=where(server), obstacle=f"the server answered with an error: {error}")
    wal = project.strategy.wal_of(database.name)
    limit, limit_name = _limit(None if wal is None else wal.slot_limit, facts, database.data)
    slots = tuple(
        SlotReport(
            facts=slot,
            is_ours=slot.name == slot_name(database.name),
            limit=limit,
            limit_name=limit_name,
            is_of_restore=slot.name.startswith(STANDBY_SLOTS),
        )
        for slot in facts.slots
    )
    return ServerReport(where=where(server), facts=facts, skew=skew, slots=slots)


def _limit(stated: int | None, facts: WalFacts, data: Path | None) -> tuple[int, str]:
    """What a slot may hold: as stated, else as the server limits it, else a tenth of its file system."""
    if stated is not None:
        return stated, "slot_limit"
    if facts.keep_size is not None:
        return facts.keep_size, "max_slot_wal_keep_size"
    try:
        if data is not None:
            return shutil.disk_usage(data).total // 10, "a tenth of the server's file system"
    except OSError:
        pass
    return DEFAULT_SLOT_LIMIT, "the default limit"


def look_at_wal_repository(
    project: Project, database: str, repository: RepositoryStrategy, cluster: str
) -> RepositoryReport:
    """What one repository holds of the cluster's WAL, with whatever keeps that from being seen."""
    return _look_at_repository(project, database, repository, cluster, None)[0]


def _look_at_repository(
    project: Project, database: str, named: RepositoryStrategy, cluster: str | None, primary: WalFacts | None
) -> tuple[RepositoryReport, list[Mark]]:
    """The report, and the marks that are held, oldest first."""
    is_required = named.mode is RepositoryMode.REQUIRED
    try:
        repository = project.open_repository(named)
        return _report_of(repository, database, named.name, is_required, cluster, primary)
    except SafepointError as error:
        return RepositoryReport(name=named.name, is_required=is_required, obstacle=error.message), []


def _report_of(
    repository: Repository, database: str, name: str, is_required: bool, cluster: str | None, primary: WalFacts | None
) -> tuple[RepositoryReport, list[Mark]]:
    backups = backups_of(repository, database)
    cluster = cluster or next((backup.system_identifier for backup in reversed(backups)), None)
    if cluster is None:
        return RepositoryReport(name=name, is_required=is_required), []
    adopted = repository.newest_adoption(cluster).timeline
    own = [backup for backup in backups if backup.system_identifier == cluster]
    wal = look_at_cluster_wal(repository, cluster, own)
    if is_doubtful(wal.lineages):
        repository.wal_pieces(cluster)  # says which lineages are in doubt, and what to do
    report = RepositoryReport(
        name=name,
        is_required=is_required,
        adopted=adopted,
        gaps=wal.losses,
        past_gaps=_past(repository, wal.losses, own),
    )
    sound = [piece for piece in wal.held.pieces if piece not in wal.held.lost]
    pieces = [piece for piece in sound if piece.timeline not in wal.held.abandoned]
    if not pieces:
        return report, []
    timeline, durable = _end(pieces)
    by_timeline = marks_by_timeline(pieces, wal.held.marks, wal.held.commits)
    reached = _before_gaps(by_timeline, report.open_gaps)
    seen = replace(
        report,
        last_segment=_last_segment(pieces),
        timeline=timeline,
        durable=durable,
        mark=max((mark for mark in reached if mark.lsn <= durable), key=attrgetter("clock"), default=None),
        lag_bytes=None if primary is None or primary.position is None else primary.position - durable,
    )
    return seen, sorted((mark for found in by_timeline.values() for mark in found), key=attrgetter("clock"))


def _end(pieces: Sequence[WalPiece]) -> tuple[TimelineId, Lsn]:
    """How far the newest timeline is held: to the end of its last stretch."""
    spans = spans_of(pieces)
    newest = max(spans)
    return newest, max(span.end for span in spans[newest])


def _before_gaps(marks: Mapping[TimelineId, Sequence[Mark]], gaps: Sequence[Loss]) -> list[Mark]:
    """Those that stand before the first of these gaps."""
    first = min(((gap.timeline, gap.start) for gap in gaps), default=None)
    return [
        mark for timeline, found in marks.items() for mark in found if first is None or (timeline, mark.lsn) <= first
    ]


def _past(repository: Repository, losses: Sequence[Loss], backups: Sequence[BackupManifest]) -> tuple[Loss, ...]:
    """Those that the newest backup has made an end of which is not known to be damaged."""
    if not losses:
        return ()
    proofs = proofs_of(repository)
    sound = [backup for backup in backups if not proofs.get(backup.id, NOT_READ).is_damaged]
    return past_losses(losses, sound[-1].timeline, sound[-1].start_lsn) if sound else ()


def _last_segment(pieces: Sequence[WalPiece]) -> str | None:
    whole = [piece for piece in pieces if not piece.is_partial]
    newest = max(whole, key=lambda piece: (piece.timeline, piece.start), default=None)
    return None if newest is None else newest.name.rpartition("/")[2].partition(".")[0]
