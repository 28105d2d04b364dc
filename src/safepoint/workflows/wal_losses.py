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
from safepoint.repository.wal_lineages import Branch


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterWal:
    """Of each timeline the lineage that is followed (`followed`), or the first one where nobody said which."""

    branches: tuple[Branch, ...]
    followed: tuple[Branch, ...]
    held: WalHeld
    coverage: Coverage
    losses: tuple[Loss, ...]


def look_at_cluster_wal(repository: Repository, cluster: str, backups: Sequence[BackupManifest]) -> ClusterWal:
    """What is there, and what these backups, which must be the cluster's, are worth with it; RP004, RP005.

    Reads records, and of WAL a few facts; the journal when something is missing.
    """
    branches = tuple(branch for branch in repository.wal_branches(cluster) if branch.start is not None)
    followed = _followed(branches)
    names = [branch.lineage for branch in followed]
    held = fetch_wal_held(repository, cluster, lineages=names if is_doubtful(branches) else ())
    coverage = held.coverage(backups)
    told = [*followed, *(branch for branch in branches if branch.is_abandoned)]
    evidence = _evidence(repository, cluster, told, held) if coverage.gaps else None
    return ClusterWal(
        branches=branches,
        followed=followed,
        held=held,
        coverage=coverage,
        losses=() if evidence is None else losses_of(coverage, backups, evidence),
    )


def is_doubtful(branches: Sequence[Branch]) -> bool:
    """Whether there is a timeline of which two lineages are stored, and neither was adopted."""
    sure = {branch.timeline for branch in branches if branch.is_followed or branch.is_abandoned}
    return any(branch.timeline not in sure for branch in branches)


def _followed(branches: Sequence[Branch]) -> tuple[Branch, ...]:
    found: dict[TimelineId, Branch] = {}
    for branch in sorted(branches, key=lambda branch: not branch.is_followed):
        if not branch.is_abandoned:
            found.setdefault(branch.timeline, branch)
    return tuple(found.values())


def _evidence(repository: Repository, cluster: str, branches: Sequence[Branch], held: WalHeld) -> Evidence:
    stored, expired = _journalled(repository, {wal_folder(cluster, each.lineage): each.timeline for each in branches})
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
