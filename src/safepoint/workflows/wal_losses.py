"""A cluster's WAL in one repository: what is held, what can be restored with it, and what is lost, and why.

`coverage` and `wal status` both say what is found here, so that they count and name the same gaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from safepoint import errors
from safepoint.backup.coverage import Spans, marks_by_timeline, spans_of
from safepoint.backup.fetch_coverage import WalHeld, fetch_wal_held
from safepoint.backup.reach import Evidence, losses_of
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Coverage, WalPiece
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.reach import Loss
from safepoint.repository import Repository
from safepoint.repository.commit.journal_audit import readable_entries
from safepoint.repository.commit.journal_entry import Entry
from safepoint.repository.commit.journal_event import EventKind, JournalEvent
from safepoint.repository.names import wal_folder
from safepoint.repository.wal_lineages import StoredLineage


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterWal:
    """Of each timeline the lineage that is followed (`followed`), or the first one where nobody said which."""

    lineages: tuple[StoredLineage, ...]
    followed: tuple[StoredLineage, ...]
    held: WalHeld
    coverage: Coverage
    losses: tuple[Loss, ...]


def look_at_cluster_wal(repository: Repository, cluster: str, backups: Sequence[BackupManifest]) -> ClusterWal:
    """What is there, and what these backups, which must be the cluster's, are worth with it; RP004, RP005.

    Reads records, and of WAL a few facts; the journal when something is missing.
    """
    lineages = tuple(lineage for lineage in repository.wal_lineages(cluster) if lineage.start is not None)
    followed = _followed(lineages)
    names = [lineage.name for lineage in followed]
    held = fetch_wal_held(repository, cluster, lineages=names if is_doubtful(lineages) else ())
    coverage = held.coverage(backups)
    told = [*followed, *(lineage for lineage in lineages if lineage.is_abandoned)]
    evidence = _evidence(repository, cluster, told, held) if coverage.gaps else None
    return ClusterWal(
        lineages=lineages,
        followed=followed,
        held=held,
        coverage=coverage,
        losses=() if evidence is None else losses_of(coverage, backups, evidence),
    )


def is_doubtful(lineages: Sequence[StoredLineage]) -> bool:
    """Whether there is a timeline of which two lineages are stored, and neither was adopted."""
    sure = {lineage.timeline for lineage in lineages if lineage.is_followed or lineage.is_abandoned}
    return any(lineage.timeline not in sure for lineage in lineages)


def _followed(lineages: Sequence[StoredLineage]) -> tuple[StoredLineage, ...]:
    found: dict[TimelineId, StoredLineage] = {}
    for lineage in sorted(lineages, key=lambda lineage: not lineage.is_followed):
        if not lineage.is_abandoned:
            found.setdefault(lineage.timeline, lineage)
    return tuple(found.values())


def _evidence(repository: Repository, cluster: str, lineages: Sequence[StoredLineage], held: WalHeld) -> Evidence:
    stored, expired = _journalled(repository, {wal_folder(cluster, each.name): each.timeline for each in lineages})
    return Evidence(
        damaged=spans_of(held.lost),
        stored_once=stored,
        expired=expired,
        marks=marks_by_timeline(held.pieces, held.marks, held.commits),
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
