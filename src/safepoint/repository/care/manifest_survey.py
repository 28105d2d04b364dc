"""The manifests of all backups, read: each under the name and with the bytes that its lease's end says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.repository.care.finding import Affected, Finding, FindingKind, Loss, affected_backup
from safepoint.repository.care.locked_out import is_locked_out
from safepoint.repository.commit.backups import Backups, CommittedBackup
from safepoint.repository.commit.journal_entry import digest_of
from safepoint.repository.commit.lease_objects import list_leases
from safepoint.repository.commit.leases import OpenLease, read_leases
from safepoint.repository.commit.manifest import open_manifest
from safepoint.repository.names import begin_name, expired_name, lease_named_by
from safepoint.repository.parallel import in_threads
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.objects import fetch, read_object
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.repository.severity import Severity
from safepoint.stores.port import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestSurvey:
    """What could be read, the oldest first, and the digests of the objects; `findings` tells of everything else."""

    state: Backups
    manifests: dict[str, BackupManifest] = field(default_factory=dict[str, BackupManifest])
    digests: dict[str, str] = field(default_factory=dict[str, str])
    findings: tuple[Finding, ...] = ()


def survey_manifests(repository: Repository) -> ManifestSurvey:
    """All manifests, read and compared; leases that are open, ends that are damaged."""
    state = repository.backup_state()
    survey = ManifestSurvey(state=state)
    read = in_threads(lambda backup: _read(repository, backup, survey), state.existing)
    findings = (
        *(finding for finding in read if finding is not None),
        *_missing(repository, state),
        *(_damaged_end(repository, name) for name in state.unreadable),
        *(_undecided(repository, name) for name in state.undecided),
        *(_void(name, is_spent=name in state.spent) for name in state.void),
        *_open_leases(repository),
        *_broken_expiries(repository),
    )
    manifests = dict(sorted(survey.manifests.items(), key=lambda found: (found[1].stopped_at, found[1].id)))
    return ManifestSurvey(state=state, manifests=manifests, digests=survey.digests, findings=findings)


def _read(repository: Repository, backup: CommittedBackup, survey: ManifestSurvey) -> Finding | None:
    """Takes the manifest in, or says what is wrong with it."""
    try:
        data = fetch(repository.store, backup.manifest, Kind.MANIFEST)
        digest = survey.digests[backup.manifest] = digest_of(data)
        manifest = open_manifest(repository.keyring, backup.manifest, data)
    except errors.SafepointError as error:
        if error.spec is errors.RP006 or is_locked_out(repository, backup.manifest, Kind.MANIFEST):
            return _finding(FindingKind.LOCKED_OUT, Severity.UNKNOWN, error.message, backup.manifest)
        if error.spec not in {errors.RP004, errors.RP005}:
            raise
        kind = FindingKind.MISSING_MANIFEST if error.spec is errors.RP004 else FindingKind.DAMAGED_MANIFEST
        return _finding(kind, Severity.DAMAGED, error.message, backup.manifest)
    survey.manifests[backup.manifest] = manifest
    if digest != backup.digest:
        text = (
            f"found {backup.manifest} with digest {digest[:16]}, expected {backup.digest[:16]} as its lease's end says"
        )
        affected = affected_backup(manifest, Loss.EVERYTHING)
        return _finding(FindingKind.REPLACED_MANIFEST, Severity.DAMAGED, text, backup.manifest, affected)
    return None


def _missing(repository: Repository, state: Backups) -> Iterator[Finding]:
    """Hidden or lost; who made it and when its lease still tells."""
    lost = {backup.lease: backup for backup in state.missing}
    leases = [names for names in list_leases(repository.store).values() if names.id in lost] if lost else []
    for lease in read_leases(repository.store, repository.keyring, leases):
        name = lost[lease.id].manifest
        text = f"found no {name}, expected the manifest that its lease says was committed{_made(lease)}"
        affected = Affected(backup_id=name, loses=Loss.EVERYTHING, database=lease.database)
        yield _finding(FindingKind.MISSING_MANIFEST, Severity.DAMAGED, text, name, affected)


def _made(lease: OpenLease) -> str:
    if lease.database is None or lease.begun_at is None:
        return ""
    return f": a backup of {lease.database} begun at {lease.begun_at.isoformat(timespec='seconds')}"


def _damaged_end(repository: Repository, name: str) -> Finding:
    if is_locked_out(repository, name, Kind.END):
        text = f"found no key here that opens {name}, expected one: it is unknown what the lease committed"
        return Finding(kind=FindingKind.LOCKED_OUT, severity=Severity.UNKNOWN, text=text, objects=(name,))
    text = f"found {name} with a seal that does not hold, expected how the lease ended: it is unknown what it committed"
    return Finding(kind=FindingKind.DAMAGED_END, severity=Severity.DAMAGED, text=text, objects=(name,))


def _undecided(repository: Repository, name: str) -> Finding:
    """A manifest without an end that commits it: its writer is at work, or an object is gone or strange."""
    lease = lease_named_by(name)
    begin = None if lease is None else begin_name(lease)
    try:
        affected = affected_backup(repository.read_manifest(name), Loss.EVERYTHING)
    except errors.SafepointError as error:
        if error.spec not in {errors.RP004, errors.RP005, errors.RP006, errors.RP008}:
            raise
        text = f"found a manifest that no lease committed and that does not open, expected a backup: {error.message}"
        return _finding(FindingKind.UNDECIDED_MANIFEST, Severity.UNKNOWN, text, name)
    text = (
        f"found {name} without an end of its lease, expected one that commits it: its writer is at work or dead "
        f"(see {begin}), or the end was deleted"
    )
    return _finding(FindingKind.UNDECIDED_MANIFEST, Severity.UNKNOWN, text, name, affected)


def _void(name: str, *, is_spent: bool) -> Finding:
    """One that is not spent stays: it may be that its end was lost, and that a sibling knows it as a backup."""
    text = f"found {name}, which is no backup: its lease ended without it (`repository expire` takes it away)"
    if is_spent:
        text = f"found {name}, which is no backup and will never be one, expected it to be collected"
    return Finding(kind=FindingKind.VOID_MANIFEST, severity=Severity.NOTICE, text=text, objects=(name,))


def _open_leases(repository: Repository) -> Iterator[Finding]:
    now = repository.clock()
    names = [names for names in list_leases(repository.store).values() if not names.has_end]
    for lease in read_leases(repository.store, repository.keyring, names):
        state = "open and stale" if lease.is_stale(now) else "open"
        text = f"found lease {lease.id} {state}: {lease.describe(now)}"
        severity = Severity.NOTICE
        yield Finding(kind=FindingKind.OPEN_LEASE, severity=severity, text=text, objects=(begin_name(lease.id),))


def _broken_expiries(repository: Repository) -> Iterator[Finding]:
    """What says that a backup expired, and does not open: that counts, and perhaps nobody with a key said so."""
    store, keyring = repository.store, repository.keyring
    names = sorted(expired_name(each.id) for each in list_leases(store).values() if each.is_expired)
    for name, error in zip(names, in_threads(lambda name: _fault(store, keyring, name), names), strict=True):
        if error is None:
            continue
        if is_locked_out(repository, name, Kind.END):
            text = f"found no key here that opens {name}, expected one: it is unknown who let the backup expire"
            yield Finding(kind=FindingKind.LOCKED_OUT, severity=Severity.UNKNOWN, text=text, objects=(name,))
        else:
            text = f"found {name} with a seal that does not hold, expected why its backup expired: was it planted?"
            yield Finding(kind=FindingKind.DAMAGED_END, severity=Severity.DAMAGED, text=text, objects=(name,))


def _fault(store: Store, keyring: Keyring, name: str) -> errors.SafepointError | None:
    """Why the object does not open; None when it does, or is gone."""
    try:
        read_object(store, keyring, Kind.END, name)
    except errors.Damaged as error:
        return None if error.spec is errors.RP004 else error
    return None


def _finding(kind: FindingKind, severity: Severity, text: str, name: str, affected: Affected | None = None) -> Finding:
    """A finding about a manifest; the backup that it names is affected, even when nothing else is known of it."""
    backup = affected or Affected(backup_id=name, loses=Loss.EVERYTHING)
    return Finding(kind=kind, severity=severity, text=text, objects=(name,), affected=(backup,))
