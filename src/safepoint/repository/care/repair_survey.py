"""Which manifests a repair has to do with: those of backups, and those that a sibling or the journal knows as such."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.repository.care.finding import Finding, FindingKind
from safepoint.repository.care.lost_backups import lost_backups, names_expired
from safepoint.repository.care.repair_manifest import KnownManifest
from safepoint.repository.care.repair_values import RepairKind, RepairScope, finding_about
from safepoint.repository.care.sound_objects import fetch_if_there
from safepoint.repository.commit.backups import Backups
from safepoint.repository.commit.journal_entry import digest_of
from safepoint.repository.commit.manifest import open_manifest
from safepoint.repository.names import BACKUPS_PREFIX, end_name, lease_named_by
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.seal import Keyring


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairSurvey:
    """The manifests with their bytes, and what is known of those that nobody has.

    `names` are all manifests that were taken for backups, or may be some; `unreadable` the ends that do not open.
    """

    manifests: tuple[KnownManifest, ...]
    hopeless: tuple[Finding, ...]
    unreadable: frozenset[str]
    names: frozenset[str]


def survey_manifests(scope: RepairScope) -> RepairSurvey:
    """All that are backups, or were known as such to a sibling or to the journal."""
    state, claims = lost_backups(scope.repository)
    survey = _Survey(scope, state, claims)
    manifests = survey.manifests()
    return RepairSurvey(
        manifests=tuple(manifests),
        hopeless=tuple(survey.hopeless),
        unreadable=frozenset(state.unreadable),
        names=_names(state, claims),
    )


def names_now(repository: Repository) -> frozenset[str]:
    """`RepairSurvey.names` as they are now: what is missing was expired since."""
    return _names(*lost_backups(repository))


def _names(state: Backups, claims: Collection[str]) -> frozenset[str]:
    known = {backup.manifest for backup in (*state.existing, *state.missing)}
    return frozenset({*known, *state.undecided, *claims, *state.void} - {*state.spent})


class _Survey:
    def __init__(self, scope: RepairScope, state: Backups, claims: Mapping[str, str | None]) -> None:
        self._scope = scope
        self._repository = scope.repository
        self._state = state
        self._claims = claims
        self.hopeless: list[Finding] = []

    def manifests(self) -> list[KnownManifest]:
        """Those whose bytes are known; the others are hopeless."""
        digests = {backup.manifest: backup.digest for backup in (*self._state.existing, *self._state.missing)}
        found = [self._judged(name, digest) for name, digest in sorted(digests.items())]
        unclear = dict(self._unclear({*digests}))
        expired = names_expired(self._repository) if self._claims else frozenset[str]()
        for name in sorted({*unclear, *self._claims}):
            if name not in self._claims or name not in expired:
                found.append(self._recommitted(name, unclear.get(name)))
            else:
                text = f"found {name} expired by its lease, and no word of that in the journal: is it a backup?"
                self._give_up(FindingKind.UNDECIDED_MANIFEST, text, name)
        return [manifest for manifest in found if manifest is not None]

    def _judged(self, name: str, digest: str) -> KnownManifest | None:
        """The manifest of a backup, from here or a sibling."""
        data = fetch_if_there(self._repository, name)
        if data is not None and (here := self._opened(name, data, digest)) is not None:
            return KnownManifest(name=name, data=data, manifest=here)
        for sibling in self._scope.siblings:
            other = fetch_if_there(sibling, name)
            if other is not None and (there := self._opened(name, other, digest)) is not None:
                action = RepairKind.PUT_BACK if data is None else RepairKind.EXCHANGE
                return KnownManifest(name=name, data=other, manifest=there, action=action, source=sibling.id)
        kind = FindingKind.MISSING_MANIFEST if data is None else FindingKind.DAMAGED_MANIFEST
        state = "missing" if data is None else "damaged"
        self._give_up(kind, f"found {name} {state}, and no copy that was given has it", name)
        return None

    def _unclear(self, known: Collection[str]) -> Iterator[tuple[str, str | None]]:
        """Manifests that may be backups, each with its lease when that has an end which does not open."""
        names = {*self._repository.store.list(BACKUPS_PREFIX), *self._claims}
        for end in self._state.unreadable:
            lease = end.split("/")[1]
            mine = [name for name in names if lease_named_by(name) == lease]
            if mine:
                yield mine[0], lease
            else:
                self._give_up(FindingKind.DAMAGED_END, f"found {end} that does not open, and no manifest of it", end)
        unreadable = {end.split("/")[1] for end in self._state.unreadable}
        for name in {*self._state.undecided, *self._state.void} - {*self._state.spent}:
            if lease_named_by(name) not in unreadable and name not in known:
                yield name, None

    def _recommitted(self, name: str, lease: str | None) -> KnownManifest | None:
        """A backup because a sibling knows it as one, or because a signed entry claims these very bytes."""
        here, claimed = fetch_if_there(self._repository, name), self._claims.get(name)
        for source, digest, there in self._known_digests(name, claimed):
            for data in (here, None if there is None or name not in self._claims else fetch_if_there(there, name)):
                manifest = None if data is None else self._opened(name, data, digest)
                if data is not None and manifest is not None:
                    action = RepairKind.COMMIT_AGAIN
                    return KnownManifest(
                        name=name, data=data, manifest=manifest, action=action, source=source, lease=lease
                    )
        if name in self._claims:
            text = f"found no backup {name}, expected it as the journal says, and no copy that was given has it"
            self._give_up(FindingKind.MISSING_MANIFEST, text, name, *([end_name(lease)] if lease else ()))
        elif lease is not None:
            end = end_name(lease)
            self._give_up(FindingKind.DAMAGED_END, f"found {end} that does not open: is {name} a backup?", end, name)
        return None

    def _known_digests(self, name: str, claimed: str | None) -> Iterator[tuple[str | None, str, Repository | None]]:
        """What the backup's bytes must be: as siblings say that do not contradict the claim, and as that says."""
        for sibling, committed in self._committed_there:
            digest = committed.get(name)
            if digest is not None and claimed in {None, digest}:
                yield sibling.id, digest, sibling
        if claimed is not None:
            yield None, claimed, None

    @cached_property
    def _committed_there(self) -> list[tuple[Repository, dict[str, str]]]:
        return [
            (sibling, {backup.manifest: backup.digest for backup in sibling.backup_state().existing})
            for sibling in self._scope.siblings
        ]

    def _opened(self, name: str, data: bytes, digest: str) -> BackupManifest | None:
        return _open_manifest(self._repository.keyring, name, data, digest)

    def _give_up(self, kind: FindingKind, text: str, *objects: str) -> None:
        self.hopeless.append(finding_about(kind, text, objects))


def _open_manifest(keyring: Keyring, name: str, data: bytes, digest: str) -> BackupManifest | None:
    """The manifest, None unless these bytes are it."""
    if digest_of(data) != digest:
        return None
    try:
        return open_manifest(keyring, name, data)
    except errors.Damaged:
        return None
