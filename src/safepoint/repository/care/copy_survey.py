"""What the target of a copy lacks: from listings, the manifests of both, and the maps of the backups to be copied."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import WalPiece
from safepoint.model.lsn import Lsn
from safepoint.repository.care.copy_values import CopyPlan
from safepoint.repository.care.finding import Finding, FindingKind
from safepoint.repository.care.node_source import NodeSource
from safepoint.repository.care.stored_sizes import stored_size
from safepoint.repository.commit.backups import CommittedBackup, names_ever_committed
from safepoint.repository.commit.lease_objects import list_leases
from safepoint.repository.commit.leases import list_packs
from safepoint.repository.maps.references import References
from safepoint.repository.names import (
    RECORDS_PREFIX,
    WAL_PREFIX,
    WAL_PREFIXES,
    cluster_of,
    is_history,
    lease_named_by,
    pack_name,
)
from safepoint.repository.packs.replacements import read_replacements
from safepoint.repository.repository import Repository
from safepoint.repository.severity import Severity

_OBJECT_REQUESTS = 2  # one to get it, one to put it
_LEASE_REQUESTS = 12  # begin, tombstones, packs, indexes, index, manifest, end, and the listings of all that
_WINDOW_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedBackup:
    """A backup that the target lacks."""

    committed: CommittedBackup
    manifest: BackupManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be copied: `backups`, the oldest first, WAL by cluster, and `names` of WAL, histories and records."""

    source: Repository
    target: Repository
    is_sibling: bool
    backups: tuple[WantedBackup, ...]
    kept_out: tuple[str, ...]
    wal: Mapping[str, tuple[WalPiece, ...]]
    names: tuple[str, ...]
    findings: tuple[Finding, ...]

    def plan(self) -> CopyPlan:
        """The cost. Sizes are asked of the source's store, of a sample where there are many objects of a sort."""
        packs = self._missing_packs() if self.is_sibling else frozenset[bytes]()
        stored = stored_size(self.source.store, list(map(pack_name, sorted(packs)))).bytes
        raw = 0 if self.is_sibling else sum(backup.manifest.raw_bytes for backup in self.backups)
        pieces = {piece.name for pieces in self.wal.values() for piece in pieces}
        wal = stored_size(self.source.store, sorted(pieces)).bytes
        records = stored_size(self.source.store, [name for name in self.names if name not in pieces]).bytes
        requests = (len(packs) + len(self.names)) * _OBJECT_REQUESTS + len(self.backups) * _LEASE_REQUESTS
        return CopyPlan(
            is_sibling=self.is_sibling,
            backups=tuple(backup.manifest.id for backup in self.backups),
            kept_out=self.kept_out,
            packs=len(packs),
            objects=len(self.names),
            read_bytes=stored + raw + wal + records,
            sent_bytes=stored + raw + wal + records,
            requests=requests + raw // _WINDOW_BYTES,
            findings=self.findings,
        )

    def _missing_packs(self) -> frozenset[bytes]:
        """About: what the target keeps elsewhere counts as well."""
        held, stored = list_packs(self.target.store), list_packs(self.source.store)
        replacements = read_replacements(self.source.store, self.source.keyring)
        references = References(NodeSource(self.source).reader())
        missing: set[bytes] = set()
        for backup in self.backups:
            with contextlib.suppress(errors.Damaged):
                for ref, _ in references.of(backup.manifest.root):
                    if ref.pack not in held:
                        missing |= set(sorted(replacements.places(ref, stored.__contains__))[:1])
        return frozenset(missing - held)


def survey(source: Repository, target: Repository, ids: Collection[str] | None, *, is_sibling: bool) -> Wanted:
    """What the target lacks now. RP005 when an end in the target does not open: then it is unknown what it has."""
    committed, findings = _committed(source)
    chosen = [backup for backup in committed if ids is None or backup.manifest.id in ids]
    missing, kept_out = (_for_sibling if is_sibling else _for_stranger)(target, chosen)
    wal = _missing_wal(source, target, [*missing, *_committed(target)[0]])
    names = [piece.name for pieces in wal.values() for piece in pieces]
    names += _missing_names(source, target, RECORDS_PREFIX)
    if is_sibling:
        names += [name for name in _missing_names(source, target, WAL_PREFIX) if is_history(name)]
    return Wanted(
        source=source,
        target=target,
        is_sibling=is_sibling,
        backups=tuple(missing),
        kept_out=tuple(kept_out),
        wal=wal,
        names=tuple(names),
        findings=tuple(findings),
    )


def clusters_of(repository: Repository) -> tuple[str, ...]:
    """The clusters of which there is WAL."""
    return tuple(sorted({cluster_of(name) for prefix in WAL_PREFIXES for name in repository.store.list(prefix)}))


def _committed(repository: Repository) -> tuple[list[WantedBackup], list[Finding]]:
    """The backups whose manifests open, the oldest first; and what is known of the others."""
    state = repository.backup_state()
    found: list[WantedBackup] = []
    findings = [
        _finding(FindingKind.MISSING_MANIFEST, lost.manifest, "found it missing, expected the manifest of a backup")
        for lost in state.missing
    ]
    findings += [
        _finding(FindingKind.DAMAGED_END, name, f"found {name} that does not open") for name in state.unreadable
    ]
    for backup in state.existing:
        try:
            manifest = repository.read_manifest(backup.manifest, digest=backup.digest)
            found.append(WantedBackup(committed=backup, manifest=manifest))
        except errors.Damaged as error:
            findings.append(_finding(FindingKind.DAMAGED_MANIFEST, backup.manifest, error.message))
    return sorted(found, key=lambda backup: (backup.manifest.stopped_at, backup.manifest.id)), findings


def _for_sibling(target: Repository, chosen: list[WantedBackup]) -> tuple[list[WantedBackup], list[str]]:
    """By the manifest's name: a name that the target has seen as a backup once is never one again."""
    held = {backup.manifest for backup in target.backup_state().existing}
    expired = {names.id for names in list_leases(target.store).values() if names.is_expired}
    spent = {each.committed.manifest for each in chosen if lease_named_by(each.committed.manifest) in expired}
    ended = (names_ever_committed(target.store, target.keyring) | spent) - held
    missing = [backup for backup in chosen if backup.committed.manifest not in held | ended]
    return missing, [backup.manifest.id for backup in chosen if backup.committed.manifest in ended]


def _for_stranger(target: Repository, chosen: list[WantedBackup]) -> tuple[list[WantedBackup], list[str]]:
    held = {backup.manifest.id for backup in _committed(target)[0]}
    return [backup for backup in chosen if backup.manifest.id not in held], []


def _missing_wal(
    source: Repository, target: Repository, backups: list[WantedBackup]
) -> dict[str, tuple[WalPiece, ...]]:
    """By cluster, what the target lacks of the WAL from the start of the first backup that it has or will have."""
    firsts: dict[str, Lsn] = {}
    for manifest in (backup.manifest for backup in backups):
        first = firsts.setdefault(manifest.system_identifier, manifest.start_lsn)
        firsts[manifest.system_identifier] = min(first, manifest.start_lsn)
    found: dict[str, tuple[WalPiece, ...]] = {}
    for cluster in clusters_of(source):
        held, first = target.wal_pieces(cluster), firsts.get(cluster, Lsn(0))
        same = {(piece.timeline, piece.start, piece.end) for piece in held}
        found[cluster] = tuple(
            piece
            for piece in source.wal_pieces(cluster)
            if piece.end > first
            and (piece.timeline, piece.start, piece.end) not in same
            and not (piece.is_partial and any(other.covers(piece) for other in held))
        )
    return found


def _missing_names(source: Repository, target: Repository, prefix: str) -> list[str]:
    held = set(target.store.list(prefix))
    return [name for name in _sorted(source, prefix) if name not in held]


def _sorted(repository: Repository, prefix: str) -> Iterator[str]:
    return iter(sorted(repository.store.list(prefix)))


def _finding(kind: FindingKind, name: str, text: str) -> Finding:
    return Finding(kind=kind, severity=Severity.DAMAGED, text=f"not copied: {text}", objects=(name,))
