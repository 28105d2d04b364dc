"""Repair: what is damaged or missing is made whole from what is left and from other copies of the repository.

A copy is a sibling (or a mirror), whose objects are ours byte for byte, or a stranger that holds the same backups. Each
byte that is taken over is checked first: by its seal, or by its id under our key. Nothing is deleted but what does not
open, and that only when its successor is in the store: an object that must keep its name is put aside first
(`tmp/repair/`), so that a kill between deleting and putting loses nothing, and the next run goes on. Packs are never
exchanged: their blobs are put into new ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.repository.care.finding import Finding, FindingKind
from safepoint.repository.care.lost_backups import lost_backups, names_expired
from safepoint.repository.care.progress import Progress, Report, no_report
from safepoint.repository.care.refill import BlobSources, Losses, Lost, link, link_actions, losses_of, refill
from safepoint.repository.care.reindex import index_actions, rebuild_indexes
from safepoint.repository.care.repair_manifest import KnownManifest, finding_about, manifest_action, objects_of
from safepoint.repository.care.repair_values import RepairAction, Repaired, RepairKind, RepairPlan
from safepoint.repository.care.sound_objects import open_sound, pack_of
from safepoint.repository.commit.backups import BACKUPS_PREFIX, Backups
from safepoint.repository.commit.journal_entry import digest_of
from safepoint.repository.commit.lease_objects import (
    LEASES_PREFIX,
    end_name,
    expired_name,
    lease_named_by,
    seal_fact,
)
from safepoint.repository.commit.leases import begin_lease
from safepoint.repository.commit.manifest import open_manifest
from safepoint.repository.maps.marking import surviving_packs
from safepoint.repository.maps.nodes import NodeReader
from safepoint.repository.maps.references import References
from safepoint.repository.packs.index import INDEX_PREFIX
from safepoint.repository.packs.pack import pack_name
from safepoint.repository.packs.usable import UsableBlobs
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.seal import Kind
from safepoint.stores.port import NotFound

__all__ = ["RepairAction", "RepairKind", "RepairPlan", "Repaired", "plan_repair", "repair"]

_ASIDE = "tmp/repair/"
_EXCHANGED = ("wal/", "tmp/wal/", "records/")


def plan_repair(
    repository: Repository,
    *,
    copies: Sequence[Repository] = (),
    damaged: Collection[str] = (),
    report: Report = no_report,
) -> RepairPlan:
    """What `repair` would do now; writes nothing. `damaged` are the objects that a check or a verification named.

    Finds by itself what is missing, which manifests, ends and indexes do not open, and which packs no index lists.
    """
    return _Repair(repository, copies, damaged, report).plan()


def repair(
    repository: Repository,
    *,
    copies: Sequence[Repository] = (),
    damaged: Collection[str] = (),
    report: Report = no_report,
) -> Repaired:
    """What can be repaired is; `Repaired.unrepaired` names the rest. Killed anywhere, the next run goes on. RP013."""
    return _Repair(repository, copies, damaged, report).run()


class _Repair:
    def __init__(
        self, repository: Repository, copies: Sequence[Repository], damaged: Collection[str], report: Report
    ) -> None:
        family = repository.description.family
        self._repository = repository
        self._store, self._keyring = repository.store, repository.keyring
        self._siblings = [copy for copy in copies if copy.description.family == family]
        self._strangers = [copy for copy in copies if copy.description.family != family]
        self._damaged = frozenset(damaged)
        self._report = report
        self._gone_indexes = tuple(
            sorted(name for name in self._damaged if name.startswith(INDEX_PREFIX) and self._get(name) is None)
        )
        self._unreadable = frozenset[str]()
        self._hopeless: list[Finding] = []

    def plan(self) -> RepairPlan:
        manifests = self._manifests()
        losses, _ = self._losses(manifests)
        actions = [
            *self._aside_actions(),
            *(manifest_action(found) for found in manifests if found.action is not None),
            *self._exchange_actions(),
            *index_actions(self._repository, self._gone_indexes),
            *link_actions(losses),
            *self._refill_actions(self._refillable(losses)),
        ]
        self._give_up_rest(manifests, actions)
        order = list(RepairKind)
        return RepairPlan(
            actions=tuple(sorted(actions, key=lambda action: order.index(action.kind))), hopeless=tuple(self._hopeless)
        )

    def run(self) -> Repaired:
        """Ends of backups come last: they count when everything they need is there."""
        done = Repaired(actions=tuple(self._finish_exchanges()))
        manifests = self._manifests()
        for found in manifests:
            if found.action is RepairKind.PUT_BACK:
                self._store.put_if_absent(found.name, found.data)
                done += Repaired(actions=(manifest_action(found),))
            elif found.action is RepairKind.EXCHANGE:
                self._exchange(found.name, found.data)
                done += Repaired(actions=(manifest_action(found),))
        for action in self._exchange_actions():
            self._exchange(action.objects[0], self._sound_elsewhere(action.objects[0])[1])
            done += Repaired(actions=(action,))
        done += Repaired(actions=tuple(rebuild_indexes(self._repository, self._gone_indexes)))
        done += self._refill_all(manifests)
        for found in manifests:
            if found.action is RepairKind.COMMIT_AGAIN:
                done += self._commit_again(found)
        self._give_up_rest(manifests, (*done.actions, *done.unrepaired))
        return done + Repaired(unrepaired=tuple(self._hopeless))

    # Manifests and ends.

    def _manifests(self) -> list[KnownManifest]:
        """All that are backups, or were known as such to a sibling, with their bytes; the others are hopeless."""
        state, claims = lost_backups(self._repository)
        self._unreadable = frozenset(state.unreadable)
        digests = {backup.manifest: backup.digest for backup in (*state.existing, *state.missing)}
        found = [self._judged(name, digest) for name, digest in sorted(digests.items())]
        unclear = dict(self._unclear(state, {*digests}, claims))
        expired = names_expired(self._repository) if claims else frozenset[str]()
        for name in sorted({*unclear, *claims}):
            if name not in claims or name not in expired:
                found.append(self._recommitted(name, unclear.get(name), claims))
            else:
                text = f"found {name} expired by its lease, and no word of that in the journal: is it a backup?"
                self._give_up(FindingKind.UNDECIDED_MANIFEST, text, name)
        return [manifest for manifest in found if manifest is not None]

    def _judged(self, name: str, digest: str) -> KnownManifest | None:
        data = self._get(name)
        if data is not None and (here := self._open_manifest(name, data, digest)) is not None:
            return KnownManifest(name=name, data=data, manifest=here)
        for sibling in self._siblings:
            other = _get(sibling, name)
            if other is not None and (there := self._open_manifest(name, other, digest)) is not None:
                action = RepairKind.PUT_BACK if data is None else RepairKind.EXCHANGE
                return KnownManifest(name=name, data=other, manifest=there, action=action, source=sibling.id)
        kind = FindingKind.MISSING_MANIFEST if data is None else FindingKind.DAMAGED_MANIFEST
        state = "missing" if data is None else "damaged"
        self._give_up(kind, f"found {name} {state}, and no copy that was given has it", name)
        return None

    def _unclear(
        self, state: Backups, known: Collection[str], claims: Collection[str]
    ) -> Iterator[tuple[str, str | None]]:
        """Manifests that may be backups, each with its lease when that has an end which does not open."""
        names = {*self._store.list(BACKUPS_PREFIX), *claims}
        for end in state.unreadable:
            lease = end.split("/")[1]
            mine = [name for name in names if lease_named_by(name) == lease]
            if mine:
                yield mine[0], lease
            else:
                self._give_up(FindingKind.DAMAGED_END, f"found {end} that does not open, and no manifest of it", end)
        unreadable = {end.split("/")[1] for end in state.unreadable}
        for name in state.undecided:
            if lease_named_by(name) not in unreadable and name not in known:
                yield name, None

    def _recommitted(self, name: str, lease: str | None, claims: Mapping[str, str | None]) -> KnownManifest | None:
        """A backup because a sibling knows it as one, or because a signed entry claims these very bytes."""
        here, claimed = self._get(name), claims.get(name)
        for source, digest, there in self._known_digests(name, claimed):
            for data in (here, None if there is None or name not in claims else _get(there, name)):
                manifest = None if data is None else self._open_manifest(name, data, digest)
                if data is not None and manifest is not None:
                    action = RepairKind.COMMIT_AGAIN
                    return KnownManifest(
                        name=name, data=data, manifest=manifest, action=action, source=source, lease=lease
                    )
        if name in claims:
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
            for sibling in self._siblings
        ]

    def _open_manifest(self, name: str, data: bytes, digest: str) -> BackupManifest | None:
        if digest_of(data) != digest:
            return None
        try:
            return open_manifest(self._keyring, name, data)
        except errors.Damaged:
            return None

    def _commit_again(self, found: KnownManifest) -> Repaired:
        """Killed between both puts: the backup exists, and the next run puts the second."""
        lease = begin_lease(
            self._store,
            self._keyring,
            purpose="repair",
            database=found.manifest.database,
            clock=self._repository.clock,
        )
        try:
            usable = UsableBlobs(self._store, self._keyring, lease)
            references = References(NodeReader(self._repository.blobs.read_blob)).of(found.manifest.root)
            lost = usable.first_unusable(ref for ref, _ in references)
            if lost is not None:
                raise errors.RP004.error(f"found pack {lost.pack.hex()[:16]} gone or condemned, expected it")
            if self._get(found.name) not in {None, found.data}:
                self._exchange(found.name, found.data)
            lease.commit(found.name, found.data)
        except errors.Damaged as error:
            text = f"{found.name} was not committed again: {error.message}"
            return Repaired(unrepaired=(finding_about(FindingKind.UNDECIDED_MANIFEST, text, objects_of(found)),))
        finally:
            with contextlib.suppress(NotFound, errors.SafepointError):
                lease.abandon()  # nothing happens when it was committed
        if found.lease is not None:
            expired = expired_name(found.lease)
            facts = {"reason": f"its end does not open; committed again by {lease.id}"}
            self._store.put_if_absent(
                expired, seal_fact(self._keyring, Kind.END, expired, facts, self._repository.clock)
            )
        return Repaired(actions=(manifest_action(found),))

    # Objects that keep their names.

    def _aside_actions(self) -> list[RepairAction]:
        return [
            RepairAction(kind=RepairKind.FINISH, objects=(name,), text=f"put {name} in its place, from {_ASIDE}")
            for name in self._aside()
        ]

    def _aside(self) -> list[str]:
        return [name.removeprefix(_ASIDE) for name in self._store.list(_ASIDE)]

    def _finish_exchanges(self) -> list[RepairAction]:
        actions = self._aside_actions()
        for name in self._aside():
            data = self._get(_ASIDE + name)
            if data is not None and self._is_sound(name, data):
                self._exchange(name, data)
            else:
                self._delete(_ASIDE + name)
        return actions

    def _exchange_actions(self) -> list[RepairAction]:
        """For what was named, and does not open: manifests are looked at with their backups."""
        actions: list[RepairAction] = []
        for name in sorted(self._damaged):
            if not name.startswith(_EXCHANGED):
                continue
            data = self._get(name)
            if data is not None and self._is_sound(name, data):
                continue
            sibling, other = self._sound_elsewhere(name)
            if other:
                text = f"exchange {name} for the one that {sibling} has"
                actions.append(RepairAction(kind=RepairKind.EXCHANGE, objects=(name,), text=text, sources=(sibling,)))
            else:
                text = f"found {name} {'missing' if data is None else 'damaged'}, and no sibling that was given has it"
                self._give_up(FindingKind.DAMAGED_OBJECT, text, name)
        return actions

    def _exchange(self, name: str, data: bytes) -> None:
        """Killed at any line: `data` is aside or in its place, and the next run ends it from there."""
        aside = _ASIDE + name
        if not self._store.put_if_absent(aside, data) and self._get(aside) != data:
            self._delete(aside)
            self._store.put_if_absent(aside, data)
        if self._get(name) != data:
            self._delete(name)
            self._store.put_if_absent(name, data)
        self._delete(aside)
        self._store.barrier()

    def _sound_elsewhere(self, name: str) -> tuple[str, bytes]:
        for sibling in self._siblings:
            data = _get(sibling, name)
            if data is not None and self._is_sound(name, data):
                return sibling.id, data
        return "", b""

    def _is_sound(self, name: str, data: bytes) -> bool:
        try:
            open_sound(self._keyring, name, data)
        except (errors.Damaged, ValueError):
            return False
        return True

    # Packs and indexes.

    def _losses(self, manifests: Sequence[KnownManifest]) -> tuple[Losses, BlobSources]:
        sources = BlobSources(self._repository, self._siblings, self._strangers)
        damaged = {pack for name in self._damaged if (pack := pack_of(name)) is not None}
        stored = surviving_packs(self._store, self._keyring)
        backups = [found.manifest for found in manifests]
        losses = losses_of(self._repository, backups, damaged, stored, sources.nodes)
        for manifest, error in losses.cut:
            text = f"it is not known what else {manifest.id} needs: {error.message}"
            self._hopeless.append(finding_about(FindingKind.DAMAGED_PACK, text, (), manifest))
        return losses, sources

    def _refill_all(self, manifests: Sequence[KnownManifest]) -> Repaired:
        """Node packs first: what lies below a node that was lost is known only then."""
        losses, sources = self._losses(manifests)
        done = Repaired()
        if losses.links:
            link(self._repository, losses.links)
            done += Repaired(actions=tuple(link_actions(losses)))
        sources.look_for([ref for lost in losses.packs.values() for ref in lost.blobs])
        packs = self._refillable(losses)
        for number, (lost, action) in enumerate(zip(packs, self._refill_actions(packs), strict=True), 1):
            moved, nowhere = refill(self._repository, lost, sources)
            done += Repaired(actions=(action,) if moved else (), blobs=moved)
            if nowhere:
                text = f"found {len(nowhere)} of {len(lost.blobs)} needed blobs of pack {lost.pack.hex()[:16]} nowhere"
                done += Repaired(unrepaired=(finding_about(FindingKind.DAMAGED_PACK, text, (pack_name(lost.pack),)),))
            self._report(Progress(done=number, total=len(packs), unit="packs"))
        return done

    def _refillable(self, losses: Losses) -> list[Lost]:
        """Without those of which nobody can have anything: they are given up."""
        helped = [lost for lost in losses.packs.values() if self._siblings or self._strangers or not lost.is_gone]
        for lost in losses.packs.values():
            if lost not in helped:
                text = f"found no pack {lost.pack.hex()[:16]}, expected {len(lost.blobs)} needed blobs of it somewhere"
                self._give_up(FindingKind.MISSING_PACK, text, pack_name(lost.pack))
        return helped

    def _give_up_rest(self, manifests: Iterable[KnownManifest], told: Iterable[RepairAction | Finding]) -> None:
        """What was named as damaged, and nothing is done about; packs and indexes are dealt with before."""
        known = {found.name for found in manifests}
        known |= {name for done in (*told, *self._hopeless) for name in done.objects}
        for name in sorted(self._damaged - known):
            is_dealt_with = pack_of(name) is not None or name.startswith((*_EXCHANGED, INDEX_PREFIX))
            is_settled = name.startswith(LEASES_PREFIX) and name not in self._unreadable
            if not is_dealt_with and not is_settled:
                self._give_up(FindingKind.DAMAGED_OBJECT, f"found {name} damaged or missing: no repair is known", name)

    def _refill_actions(self, packs: Iterable[Lost]) -> list[RepairAction]:
        helpers = tuple(copy.id for copy in (*self._siblings, *self._strangers))
        return [
            RepairAction(
                kind=RepairKind.REFILL,
                objects=(pack_name(lost.pack),),
                text=f"put {len(lost.blobs)} needed blobs of pack {lost.pack.hex()[:16]} into a new one",
                sources=helpers,
            )
            for lost in packs
        ]

    def _get(self, name: str) -> bytes | None:
        return _get(self._repository, name)

    def _delete(self, name: str) -> None:
        with contextlib.suppress(NotFound):
            self._store.delete(name)

    def _give_up(self, kind: FindingKind, text: str, *objects: str) -> None:
        self._hopeless.append(finding_about(kind, text, objects))


def _get(repository: Repository, name: str) -> bytes | None:
    try:
        return repository.store.get(name)
    except NotFound:
        return None
