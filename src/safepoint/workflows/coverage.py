"""`safepoint coverage`: each position and instant that can be restored, from what, how fast; what cannot, and why."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from safepoint import errors
from safepoint.backup.fetch_coverage import fetch_wal_held
from safepoint.backup.reach import reaches_of, window_start_of
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Coverage
from safepoint.model.reach import CoverageReport, Lineage
from safepoint.model.speed import speed_of
from safepoint.repository import Repository
from safepoint.repository.wal_lineages import StoredLineage
from safepoint.strategy import Strategy
from safepoint.workflows.held import only_cluster, restores_on_record
from safepoint.workflows.wal_losses import look_at_cluster_wal


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
        lineages=(),
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
    wal = look_at_cluster_wal(repository, cluster, backups)
    newest, window_start = window_start_of(wal.coverage, keep)

    def lineage(stored: StoredLineage) -> Lineage:
        found = wal.coverage if stored in wal.followed else _along(repository, cluster, stored, backups)
        reaches = reaches_of(found, backups, stored.timeline, speed=report.speed, window_start=window_start)
        return Lineage(timeline=stored.timeline, name=stored.name, is_followed=stored.is_followed, reaches=reaches)

    return replace(
        report,
        newest=newest,
        window_start=window_start,
        lineages=tuple(lineage(stored) for stored in wal.lineages),
        losses=wal.losses,
        pieces=len(wal.held.pieces),
        opened_pieces=wal.held.opened,
    )


def _along(repository: Repository, cluster: str, stored: StoredLineage, backups: Sequence[BackupManifest]) -> Coverage:
    """Coverage along a lineage that is not followed; nothing where its own history cannot be read."""
    with suppress(errors.Damaged):
        return fetch_wal_held(repository, cluster, lineages=[stored.name]).coverage(backups)
    return Coverage(intervals=(), gaps=())
