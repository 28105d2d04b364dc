"""`safepoint coverage`: each position and instant that can be restored, from what, how fast; what cannot, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from safepoint import errors
from safepoint.backup.coverage import Spans, marks_by_timeline, spans_of
from safepoint.backup.fetch_coverage import WalHeld, fetch_wal_held
from safepoint.backup.reach import Evidence, losses_of, reaches_of, window_start_of
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Coverage, WalPiece
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.reach import CoverageReport, Lane
from safepoint.model.speed import speed_of
from safepoint.repository import Repository
from safepoint.repository.commit.journal_audit import readable_entries
from safepoint.repository.commit.journal_entry import Entry
from safepoint.repository.commit.journal_event import EventKind, JournalEvent
from safepoint.repository.names import wal_folder
from safepoint.repository.wal_lineages import Branch
from safepoint.strategy import Strategy
from safepoint.workflows.held import only_cluster, restores_on_record


def keep_of(strategy: Strategy, database: str) -> timedelta | None:
    """The window that the strategy states for the database's WAL; None when it states none."""
    wal = strategy.wal_of(database)
    return None if wal is None else wal.keep


def coverage_report(repository: Repository, database: str, keep: timedelta | None = None) -> CoverageReport:
    """What can be restored of the database, of every lineage; BK002 when two clusters share its name.

    Reads manifests, records, the journal, and of WAL a few marks. What of it does not open makes less known: a cause,
    a speed, a backup.
    """
    readable, unreadable = repository.readable_backups()
    backups = tuple(backup for backup in readable if backup.database == database)
    cluster = only_cluster(backups, database)
    empty = CoverageReport(
        database=database,
        cluster=cluster,
        newest=None,
        window_start=None,
        lanes=(),
        losses=(),
        speed=speed_of(restores_on_record(repository), backups),
        unreadable=unreadable,
    )
    return empty if cluster is None else _filled(empty, repository, cluster, backups, keep)


def _filled(
    report: CoverageReport,
    repository: Repository,
    cluster: str,
    backups: Sequence[BackupManifest],
    keep: timedelta | None,
) -> CoverageReport:
    branches = [branch for branch in repository.wal_branches(cluster) if branch.start is not None]
    followed = _followed(branches)
    names = [branch.lineage for branch in followed]
    held = fetch_wal_held(repository, cluster, lineages=names if _is_doubtful(branches) else ())
    coverage = held.coverage(backups)
    newest, window_start = window_start_of(coverage, keep)

    def lane(branch: Branch) -> Lane:
        found = coverage if branch in followed else _of_branch(repository, cluster, branch, backups)
        reaches = reaches_of(found, backups, branch.timeline, speed=report.speed, window_start=window_start)
        return Lane(timeline=branch.timeline, lineage=branch.lineage, is_followed=branch.is_followed, reaches=reaches)

    return replace(
        report,
        newest=newest,
        window_start=window_start,
        lanes=tuple(lane(branch) for branch in branches),
        losses=losses_of(coverage, backups, _evidence(repository, cluster, followed, held)),
    )


def _followed(branches: Sequence[Branch]) -> list[Branch]:
    """One of each timeline: what is followed, or, where nobody said which, the first."""
    found: dict[TimelineId, Branch] = {}
    for branch in sorted(branches, key=lambda branch: not branch.is_followed):
        found.setdefault(branch.timeline, branch)
    return list(found.values())


def _is_doubtful(branches: Sequence[Branch]) -> bool:
    followed = {branch.timeline for branch in branches if branch.is_followed}
    return any(branch.timeline not in followed for branch in branches)


def _of_branch(repository: Repository, cluster: str, branch: Branch, backups: Sequence[BackupManifest]) -> Coverage:
    """Coverage along a lineage that is not followed; nothing where its own history cannot be read."""
    with suppress(errors.Damaged):
        return fetch_wal_held(repository, cluster, lineages=[branch.lineage]).coverage(backups)
    return Coverage(intervals=(), gaps=())


def _evidence(repository: Repository, cluster: str, followed: Sequence[Branch], held: WalHeld) -> Evidence:
    stored, expired = _journalled(repository, {wal_folder(cluster, each.lineage): each.timeline for each in followed})
    return Evidence(
        damaged=spans_of(held.lost),
        stored_once=stored,
        expired=expired,
        marks=marks_by_timeline(held.pieces, held.marks),
    )


def _journalled(repository: Repository, folders: Mapping[str, TimelineId]) -> tuple[Spans, Spans]:
    """The WAL that the journal says was stored, and that it says expired; what of it cannot be read says nothing."""
    stored: list[WalPiece] = []
    expired: list[WalPiece] = []
    kinds = {EventKind.WAL: stored, EventKind.WAL_EXPIRED: expired}
    with suppress(errors.Damaged):
        for entry in _entries(repository):
            for event in entry.events:
                if event.name in folders and event.kind in kinds:
                    kinds[event.kind].append(_piece(event, folders[event.name]))
    return spans_of(stored), spans_of(expired)


def _entries(repository: Repository) -> Sequence[Entry]:
    return readable_entries(repository.store, repository.keyring, repository.id, repository.journal.keeper)


def _piece(event: JournalEvent, timeline: TimelineId) -> WalPiece:
    start = event.start or Lsn(0)
    return WalPiece(timeline=timeline, start=start, end=event.end or start, name=event.name, is_partial=True)
