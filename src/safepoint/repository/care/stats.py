"""What a repository holds, in figures: of backups, databases and tiers, of packs and garbage, of WAL, of growth.

Read from manifests, maps and indexes, never from data; writes nothing. Every figure is exact unless it says that it is
an estimate. What could not be read is named in `unknown`; then sums over backups are lower bounds, and how much is
garbage is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, date

from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.repository.care.blob_tally import BlobSums, BlobTally, Tallied
from safepoint.repository.care.node_source import NodeSource
from safepoint.repository.care.pack_figures import PackFigures, Packs, pack_figures
from safepoint.repository.care.progress import Progress, Report, no_report
from safepoint.repository.care.wal_figures import WalFigures, wal_figures
from safepoint.repository.maps.references import References
from safepoint.repository.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What the backups of one database, or of one tier, need. `raw_bytes` as restored, each backup for itself."""

    name: str
    backups: int
    raw_bytes: int
    blobs: BlobSums


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What the backups that ended on one day, in UTC, added to the store, by their manifests."""

    day: date
    backups: int
    added_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The figures. `packs.garbage_packs` is None when it is unknown what backups need; see `unknown`."""

    repository: str
    is_encrypted: bool
    total: Share
    databases: tuple[Share, ...]
    tiers: tuple[Share, ...]
    growth: tuple[Growth, ...]
    backups: tuple[BackupManifest, ...]
    packs: PackFigures
    wal: tuple[WalFigures, ...]
    unknown: tuple[str, ...]

    @property
    def deduplication(self) -> float | None:
        """Bytes of all backups as restored, for each byte of distinct data."""
        return self.total.raw_bytes / self.total.blobs.unique if self.total.blobs.unique else None

    @property
    def compression(self) -> float | None:
        """Bytes of distinct data, for each byte stored of it."""
        stored = self.total.blobs.stored - self.total.blobs.maps
        return self.total.blobs.unique / stored if stored else None


def stats(repository: Repository, *, report: Report = no_report) -> Stats:
    """The repository's figures. Time follows the number of blobs; memory is bounded, whatever that is."""
    backups, unreadable = repository.readable_backups()
    packs = Packs(repository)
    groups = _groups(backups)
    with BlobTally() as tally:
        broken, lost = _walk(repository, groups, packs, tally, report)
        packs.read_indexes(report)
        sets = {f"{axis} {name}": numbers for axis, name, numbers in _sets(list(groups))}
        tallied = tally.sums(sets, len(packs))
    unknown = (*(f"{name} does not open or is missing" for name in unreadable), *broken, *packs.unknown)
    return Stats(
        repository=repository.id,
        is_encrypted=repository.is_encrypted,
        total=_share("", backups, tallied.total),
        databases=_shares("database", backups, tallied),
        tiers=_shares("tier", backups, tallied),
        growth=_growth(backups),
        backups=backups,
        packs=pack_figures(packs, tallied, is_known=not unknown),
        wal=wal_figures(repository.store),
        unknown=(*unknown, *_lost(lost)),
    )


_Group = tuple[str, str]
"""A database and a tier."""


def _groups(backups: Sequence[BackupManifest]) -> dict[_Group, list[BackupManifest]]:
    groups: dict[_Group, list[BackupManifest]] = {}
    for backup in backups:
        groups.setdefault((backup.database, backup.tier), []).append(backup)
    return groups


def _sets(groups: Sequence[_Group]) -> Iterator[tuple[str, str, AbstractSet[int]]]:
    for position, axis in enumerate(("database", "tier")):
        for name in sorted({group[position] for group in groups}):
            yield axis, name, {number for number, group in enumerate(groups) if group[position] == name}


def _walk(
    repository: Repository,
    groups: Mapping[_Group, Sequence[BackupManifest]],
    packs: Packs,
    tally: BlobTally,
    report: Report,
) -> tuple[list[str], int]:
    """What each group needs, told to the tally; says which backups cannot be walked, and how many blobs are lost."""
    broken, lost = list[str](), 0
    nodes = NodeSource(repository).reader()
    total, done = sum(map(len, groups.values())), 0
    for number, backups in enumerate(groups.values()):
        references = References(nodes)
        for backup in backups:
            try:
                for ref, kind in references.of(backup.root):
                    places = packs.places(ref)
                    lost += not places
                    for place in places:
                        tally.need(number, place, ref, kind)
            except errors.Damaged as error:
                broken.append(f"what {backup.id} needs cannot be read: {error.message}")
            done += 1
            report(Progress(done=done, total=total, unit="backups"))
    return broken, lost


def _shares(axis: str, backups: Sequence[BackupManifest], tallied: Tallied) -> tuple[Share, ...]:
    by_name: dict[str, list[BackupManifest]] = {}
    for backup in backups:
        by_name.setdefault(backup.database if axis == "database" else backup.tier, []).append(backup)
    return tuple(_share(name, by_name[name], tallied.of[f"{axis} {name}"]) for name in sorted(by_name))


def _share(name: str, backups: Sequence[BackupManifest], blobs: BlobSums) -> Share:
    raw_bytes = sum(backup.raw_bytes for backup in backups)
    return Share(name=name, backups=len(backups), raw_bytes=raw_bytes, blobs=blobs)


def _growth(backups: Sequence[BackupManifest]) -> tuple[Growth, ...]:
    days: dict[date, list[int]] = {}
    for backup in backups:
        days.setdefault(backup.stopped_at.astimezone(UTC).date(), []).append(backup.added_bytes)
    return tuple(Growth(day=day, backups=len(added), added_bytes=sum(added)) for day, added in sorted(days.items()))


def _lost(lost: int) -> list[str]:
    if not lost:
        return []
    return [
        f"{lost} references lead to blobs that lie in no pack that is there: `safepoint repository check` says whose"
    ]
