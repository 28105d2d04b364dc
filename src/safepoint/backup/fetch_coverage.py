"""What a repository holds of a cluster, read for `coverage_of`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from safepoint import errors
from safepoint.backup.clock_steps import read_clock_steps
from safepoint.backup.coverage import coverage_of
from safepoint.backup.mark_reading import Boundary, read_marks
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Commits, Coverage, Mark, WalPiece
from safepoint.model.history import parse_history
from safepoint.model.lsn import TimelineId
from safepoint.repository import Repository
from safepoint.repository.care.verification_memory import read_memory


@dataclass(frozen=True, slots=True, kw_only=True)
class WalHeld:
    """A cluster's WAL as a repository holds it: `lost` are the pieces that are listed and do not open.

    So many were `opened` at all: what the others are worth, a verification or a restore finds.
    """

    pieces: tuple[WalPiece, ...]
    lost: frozenset[WalPiece]
    marks: Mapping[str, Mark]
    histories: Mapping[TimelineId, bytes]
    steps: Mapping[TimelineId, Sequence[Mark]]
    commits: Mapping[str, Commits] = field(default_factory=dict[str, Commits])
    opened: int = 0
    abandoned: frozenset[TimelineId] = frozenset()

    def coverage(self, backups: Sequence[BackupManifest]) -> Coverage:
        """What can be restored with it from these backups."""
        found = coverage_of(
            backups,
            [piece for piece in self.pieces if piece not in self.lost],
            self.marks,
            self.histories,
            lost=self.lost,
            steps=self.steps,
            commits=self.commits,
        )
        return replace(found, abandoned=self.abandoned)


def fetch_coverage(
    repository: Repository,
    system_identifier: str,
    backups: Sequence[BackupManifest],
    *,
    with_marks: bool = True,
    around: Collection[datetime] = (),
    lineages: Collection[str] = (),
) -> Coverage:
    """Everything that can be restored from these backups, which must be the cluster's.

    Costs one listing, and short reads of some pieces for their marks; without marks in LSNs only, no piece read.
    The marks next to the instants `around` are among those read. A piece of which it is seen that its facts do not
    open counts as missing: one damaged object must not hide what others can restore.
    """
    held = fetch_wal_held(repository, system_identifier, with_marks=with_marks, around=around, lineages=lineages)
    return held.coverage(backups)


def fetch_wal_held(
    repository: Repository,
    system_identifier: str,
    *,
    with_marks: bool = True,
    around: Collection[datetime] = (),
    lineages: Collection[str] = (),
) -> WalHeld:
    """The cluster's WAL, of each timeline the lineage that is followed or is among `lineages`; RP004, RP007."""
    pieces = repository.wal_pieces(system_identifier, lineages)
    histories = _read_histories(repository, system_identifier, pieces, lineages)
    # Whoever names lineages has chosen among timelines.
    timelines = _timelines_of(pieces)
    abandoned = repository.abandoned_timelines(system_identifier, [] if lineages else timelines)
    if not with_marks:
        return WalHeld(pieces=pieces, lost=frozenset(), marks={}, histories=histories, steps={}, abandoned=abandoned)
    damaged = _known_damaged(repository, pieces)
    reading = read_marks(
        [piece for piece in pieces if piece not in damaged],
        repository.read_wal_times,
        around=around,
        boundaries=_boundaries(histories),
    )
    return WalHeld(
        pieces=pieces,
        lost=damaged | reading.lost,
        marks=reading.marks,
        histories=histories,
        steps=_read_steps(repository, system_identifier),
        commits=reading.commits,
        opened=reading.opened + len(damaged),
        abandoned=abandoned,
    )


def _read_steps(repository: Repository, cluster: str) -> Mapping[TimelineId, Sequence[Mark]]:
    with suppress(errors.Damaged):  # one record that does not open must keep nobody from a restore
        return read_clock_steps(repository, cluster)
    return {}


def _known_damaged(repository: Repository, pieces: Sequence[WalPiece]) -> frozenset[WalPiece]:
    """Pieces that an earlier verification found damaged and that are so to this day; each of them is read whole."""
    found: set[WalPiece] = set()
    with suppress(errors.Damaged):  # what earlier verifications said is evidence, too, that may be damaged
        names = set(read_memory(repository).damaged.values())
        for piece in pieces:
            if piece.name in names and not _opens(repository, piece):
                found.add(piece)
    return frozenset(found)


def _opens(repository: Repository, piece: WalPiece) -> bool:
    try:
        repository.read_wal(piece)
    except errors.Damaged:
        return False
    return True


def _boundaries(histories: Mapping[TimelineId, bytes]) -> frozenset[Boundary]:
    found: set[Boundary] = set()
    for content in histories.values():
        with suppress(ValueError):
            found |= {(ancestor.timeline, ancestor.switch) for ancestor in parse_history(content)}
    return frozenset(found)


def _timelines_of(pieces: Sequence[WalPiece]) -> list[TimelineId]:
    # Numbers: values of model hash field by field, which takes long where there are 100,000 pieces.
    return [TimelineId(number) for number in {piece.timeline.value for piece in pieces}]


def _read_histories(
    repository: Repository, cluster: str, pieces: Sequence[WalPiece], lineages: Collection[str]
) -> dict[TimelineId, bytes]:
    found: dict[TimelineId, bytes] = {}
    for timeline in (each for each in _timelines_of(pieces) if each.has_history):
        with suppress(errors.Damaged):  # without it, what is missing shows as a gap
            content = repository.read_history(cluster, timeline, lineages)
            if content is not None:
                found[timeline] = content
    return found
