"""Putting the blobs of packs that are damaged or gone into new ones, from wherever they can still be read.

Nothing is taken away: what opens where it is, is moved along; what does not comes from another place here, from a
sibling's pack, or from the pages of a stranger's copy of a backup, and counts only if its id is the same under our key.
A damaged pack is garbage afterwards, unless a blob in it was not found anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from safepoint import errors
from safepoint.model.backup import BackupManifest, BlobRef
from safepoint.repository.care.finding import Finding, FindingKind
from safepoint.repository.care.moving import moving
from safepoint.repository.care.progress import Progress, Report
from safepoint.repository.care.repair_values import RepairAction, Repaired, RepairKind, RepairScope, finding_about
from safepoint.repository.care.stranger_blobs import StrangerBlobs
from safepoint.repository.maps.nodes import NodeReader
from safepoint.repository.maps.references import References
from safepoint.repository.names import pack_name
from safepoint.repository.packs.index import shares
from safepoint.repository.packs.pack import BlobKind, blob_id, blob_id_key, read_table
from safepoint.repository.packs.replacements import Replacements, read_replacements
from safepoint.repository.repository import Repository


@dataclass(slots=True, kw_only=True)
class LostPack:
    """What backups need of one pack that is damaged or gone; `replaces` are the packs by which they refer to it.

    `is_gone`: no pack here, as far as any index tells, has a blob of it.
    """

    pack: bytes
    cluster: str
    blobs: dict[BlobRef, BlobKind] = field(default_factory=dict[BlobRef, BlobKind])
    replaces: set[bytes] = field(default_factory=set[bytes])
    is_gone: bool = False

    @property
    def needed_bytes(self) -> int:
        """Stored bytes of the blobs."""
        return sum(ref.length for ref in self.blobs)


@dataclass(slots=True, kw_only=True)
class LostPacks:
    """`packs` that are to be refilled; `links` from packs that are gone to those that have the blobs, by cluster.

    `cut` are backups of which a part of the maps does not open anywhere, and why: what else they need is unknown. Takes
    some 300 bytes for each lost blob: who has lost nearly everything copies the sibling instead.
    """

    packs: dict[bytes, LostPack] = field(default_factory=dict[bytes, LostPack])
    links: dict[tuple[str, bytes], set[bytes]] = field(default_factory=dict[tuple[str, bytes], set[bytes]])
    cut: list[tuple[BackupManifest, errors.SafepointError]] = field(
        default_factory=list[tuple[BackupManifest, errors.SafepointError]]
    )

    def refillable(self, scope: RepairScope) -> list[LostPack]:
        """Those of which anybody may have something."""
        return [lost for lost in self.packs.values() if scope.helpers or not lost.is_gone]

    def hopeless(self, scope: RepairScope) -> list[Finding]:
        """Packs of which nobody has anything, and backups of which it is unknown what they need."""
        findings = [
            finding_about(
                FindingKind.DAMAGED_PACK, f"it is not known what else {cut.id} needs: {error.message}", (), cut
            )
            for cut, error in self.cut
        ]
        for lost in () if scope.helpers else [lost for lost in self.packs.values() if lost.is_gone]:
            text = f"found no pack {lost.pack.hex()[:16]}, expected {len(lost.blobs)} needed blobs of it somewhere"
            findings.append(finding_about(FindingKind.MISSING_PACK, text, (pack_name(lost.pack),)))
        return findings


class BlobSources:
    """Reads blobs of a repository from itself, from siblings or from strangers; each by its id, or not at all.

    Neighbours are read together, 1 MiB at a time. One thread at a time.
    """

    def __init__(self, scope: RepairScope) -> None:
        self._id_key = blob_id_key(scope.repository.keyring)
        self._read_here = scope.repository.blobs.near_reader()
        self._siblings = [sibling.blobs.near_reader() for sibling in scope.siblings]
        self._not_here: set[bytes] = set()
        self.nodes = NodeReader(self.read_own)
        self._strangers = [StrangerBlobs(scope.repository, stranger, self.nodes) for stranger in scope.strangers]

    def look_for(self, refs: Collection[BlobRef]) -> None:
        """Strangers are asked where they have these, which costs a walk through the maps of shared backups."""
        for stranger in self._strangers:
            stranger.look_for(refs)

    def read_own(self, ref: BlobRef) -> bytes:
        """The blob from here or from a sibling; the error of here when none has it."""
        raw = self._read_sibling(ref) if ref.pack in self._not_here else None
        if raw is not None:
            return raw
        try:
            return self._read_here(ref)
        except errors.Damaged as error:
            raw = self._read_sibling(ref)
            if raw is None:
                raise
            if error.spec is errors.RP004:
                self._not_here.add(ref.pack)  # to look for each of its blobs here first would take long
            return raw

    def read(self, ref: BlobRef, *, is_gone: bool = False) -> bytes | None:
        """The blob from anywhere, None when nobody has it; nobody here has one that `is_gone`."""
        raw = self._read_sibling(ref) if is_gone else _try(lambda: self.read_own(ref))
        found = (_try(lambda stranger=stranger: stranger.read(ref)) for stranger in self._strangers)
        return raw if raw is not None else next((raw for raw in found if raw is not None), None)

    def _read_sibling(self, ref: BlobRef) -> bytes | None:
        for read in self._siblings:
            raw = _try(lambda read=read: read(ref))
            if raw is not None and blob_id(self._id_key, raw) == ref.id:
                return raw
        return None


def find_losses(
    scope: RepairScope,
    manifests: Iterable[BackupManifest],
    damaged: Collection[bytes],
    stored: Collection[bytes],
    sources: BlobSources,
    report: Report,
) -> LostPacks:
    """What these backups need of packs that are damaged, or not stored."""
    repository, waiting = scope.repository, list(manifests)
    replacements = read_replacements(repository.store, repository.keyring, is_lenient=True)
    found, references = LostPacks(), References(sources.nodes)
    for done, manifest in enumerate(waiting, 1):
        try:
            for ref, kind in references.of(manifest.root):
                _judge(repository, replacements, found, manifest, (ref, kind), damaged, stored)
        except errors.Damaged as error:
            found.cut.append((manifest, error))
        report(Progress(done=done, total=len(waiting), unit="backups"))
    return found


def _judge(
    repository: Repository,
    replacements: Replacements,
    found: LostPacks,
    manifest: BackupManifest,
    blob: tuple[BlobRef, BlobKind],
    damaged: Collection[bytes],
    stored: Collection[bytes],
) -> None:
    ref, kind = blob
    cluster = manifest.system_identifier
    places = replacements.places(ref, stored.__contains__)
    if places and places.isdisjoint(damaged):
        return
    if not places:
        elsewhere = sorted(place.pack for place in repository.find_blob(ref.id) if place.pack not in damaged)
        if elsewhere:
            found.links.setdefault((cluster, elsewhere[0]), set()).add(ref.pack)
            return
    for pack in places & frozenset(damaged) or {ref.pack}:
        lost = found.packs.setdefault(pack, LostPack(pack=pack, cluster=cluster, is_gone=not places))
        lost.blobs[ref] = kind
        lost.replaces |= {pack, ref.pack}


def refill_all(scope: RepairScope, losses: LostPacks, sources: BlobSources, report: Report) -> Repaired:
    """Every pack of which anybody has something; what nobody has is named. RP013."""
    packs = losses.refillable(scope)
    sources.look_for([ref for lost in packs for ref in lost.blobs])
    told = _Told(report, sum(lost.needed_bytes for lost in packs))
    done = Repaired()
    for lost, action in zip(packs, refill_actions(scope, losses), strict=True):
        moved, nowhere = _refill(scope.repository, lost, sources, told)
        done += Repaired(actions=(action,) if moved else (), blobs=moved)
        if nowhere:
            text = f"found {nowhere} of {len(lost.blobs)} needed blobs of pack {lost.pack.hex()[:16]} nowhere"
            done += Repaired(unrepaired=(finding_about(FindingKind.DAMAGED_PACK, text, (pack_name(lost.pack),)),))
    return done


@dataclass(slots=True)
class _Told:
    """Says how many bytes of the needed blobs were dealt with."""

    report: Report
    total: int
    done: int = 0

    def add(self, length: int) -> None:
        self.done += length
        self.report(Progress(done=self.done, total=self.total, unit="bytes"))


def _refill(repository: Repository, lost: LostPack, sources: BlobSources, told: _Told) -> tuple[int, int]:
    """The blobs that anybody has are in a new pack, and needed there; how many, and of how many nobody has any."""
    nowhere = 0
    with moving(repository, purpose="repair") as move:
        for ref, kind in sorted(lost.blobs.items(), key=lambda blob: (blob[0].pack, blob[0].offset)):
            raw = sources.read(ref, is_gone=lost.is_gone)
            if raw is None:
                nowhere += 1
            else:
                move.put(raw, kind)
            told.add(ref.length)
        move.replace(lost.replaces)
        move.finish(lost.cluster)
    return len(lost.blobs) - nowhere, nowhere


def refill_actions(scope: RepairScope, losses: LostPacks) -> list[RepairAction]:
    """What `refill_all` would do."""
    return [
        RepairAction(
            kind=RepairKind.REFILL,
            objects=(pack_name(lost.pack),),
            text=f"put {len(lost.blobs)} needed blobs of pack {lost.pack.hex()[:16]} into a new one",
            sources=scope.helpers,
            read_bytes=lost.needed_bytes,
        )
        for lost in losses.refillable(scope)
    ]


def link(repository: Repository, losses: LostPacks) -> list[RepairAction]:
    """References to packs that are gone are served by others, durably, but for those that are condemned. RP013."""
    store, keyring, links = repository.store, repository.keyring, losses.links
    for cluster in sorted({cluster for cluster, _ in links}):
        ours = {pack: old for (of, pack), old in links.items() if of == cluster}
        for share in shares(read_table(store, keyring, pack) for pack in sorted(ours)):
            with moving(repository, purpose="repair") as move:
                for contents in share:
                    if move.lease.is_usable(contents.pack):
                        move.serve_from(contents)
                        move.replace(ours[contents.pack])
                move.finish(cluster)
    return link_actions(losses)


def link_actions(losses: LostPacks) -> list[RepairAction]:
    """What `link` would do."""
    gone = sorted({pack for old in losses.links.values() for pack in old})
    if not gone:
        return []
    text = f"lead the references to {len(gone)} packs that are gone to {len(losses.links)} that have their blobs"
    return [RepairAction(kind=RepairKind.LINK, objects=tuple(map(pack_name, gone)), text=text)]


def _try(read: Callable[[], bytes | None]) -> bytes | None:
    try:
        return read()
    except errors.SafepointError as error:
        if error.spec.family is errors.Family.DAMAGED:
            return None
        raise
