"""Putting the blobs of packs that are damaged or gone into new ones, from wherever they can still be read.

Nothing is taken away: what opens where it is, is moved along; what does not comes from another place here, from a
sibling's pack, or from the pages of a stranger's copy of a backup, and counts only if its id is the same under our key.
A damaged pack is garbage afterwards, unless a blob in it was not found anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from safepoint import errors
from safepoint.model.backup import BackupManifest, BlobRef
from safepoint.repository.care.moving import moving
from safepoint.repository.care.repair_values import RepairAction, RepairKind
from safepoint.repository.care.stranger_blobs import StrangerBlobs
from safepoint.repository.maps.nodes import NodeReader
from safepoint.repository.maps.references import References
from safepoint.repository.packs.index import shares
from safepoint.repository.packs.pack import BlobKind, blob_id, blob_id_key, pack_name, read_table
from safepoint.repository.packs.replacements import Replacements, read_replacements
from safepoint.repository.repository import Repository


@dataclass(slots=True, kw_only=True)
class Lost:
    """What backups need of one pack that is damaged or gone; `replaces` are the packs by which they refer to it.

    `is_gone`: no pack here, as far as any index tells, has a blob of it.
    """

    pack: bytes
    cluster: str
    blobs: dict[BlobRef, BlobKind] = field(default_factory=dict[BlobRef, BlobKind])
    replaces: set[bytes] = field(default_factory=set[bytes])
    is_gone: bool = False


@dataclass(slots=True, kw_only=True)
class Losses:
    """`packs` that are to be refilled; `links` from packs that are gone to those that have the blobs, by cluster.

    `cut` are backups of which a part of the maps does not open anywhere, and why: what else they need is unknown.
    """

    packs: dict[bytes, Lost] = field(default_factory=dict[bytes, Lost])
    links: dict[tuple[str, bytes], set[bytes]] = field(default_factory=dict[tuple[str, bytes], set[bytes]])
    cut: list[tuple[BackupManifest, errors.SafepointError]] = field(
        default_factory=list[tuple[BackupManifest, errors.SafepointError]]
    )


class BlobSources:
    """Reads blobs of a repository from itself, from siblings or from strangers; each by its id, or not at all."""

    def __init__(self, repository: Repository, siblings: Sequence[Repository], strangers: Sequence[Repository]) -> None:
        self._repository = repository
        self._siblings = siblings
        self._id_key = blob_id_key(repository.keyring)
        self.nodes = NodeReader(self.read_own)
        self._strangers = [StrangerBlobs(repository, stranger, self.nodes) for stranger in strangers]

    def look_for(self, refs: Collection[BlobRef]) -> None:
        """Strangers are asked where they have these, which costs a walk through the maps of shared backups."""
        for stranger in self._strangers:
            stranger.look_for(refs)

    def read_own(self, ref: BlobRef) -> bytes:
        """The blob from here or from a sibling; the error of here when none has it."""
        try:
            return self._repository.blobs.read_blob(ref)
        except errors.Damaged as error:
            for sibling in self._siblings:
                raw = _try(lambda sibling=sibling: sibling.blobs.read_blob(ref))
                if raw is not None and blob_id(self._id_key, raw) == ref.id:
                    return raw
            raise error from None

    def read(self, ref: BlobRef) -> bytes:
        """The blob from anywhere; the error of here when nobody has it."""
        try:
            return self.read_own(ref)
        except errors.Damaged as error:
            for stranger in self._strangers:
                raw = _try(lambda stranger=stranger: stranger.read(ref))
                if raw is not None:
                    return raw
            raise error from None


def losses_of(
    repository: Repository,
    manifests: Iterable[BackupManifest],
    damaged: Collection[bytes],
    stored: Collection[bytes],
    nodes: NodeReader,
) -> Losses:
    """What these backups need of packs that are damaged, or not stored."""
    replacements = read_replacements(repository.store, repository.keyring, is_lenient=True)
    found, references = Losses(), References(nodes)
    for manifest in manifests:
        try:
            for ref, kind in references.of(manifest.root):
                _judge(repository, replacements, found, manifest, (ref, kind), damaged, stored)
        except errors.Damaged as error:
            found.cut.append((manifest, error))
    return found


def _judge(
    repository: Repository,
    replacements: Replacements,
    found: Losses,
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
        lost = found.packs.setdefault(pack, Lost(pack=pack, cluster=cluster, is_gone=not places))
        lost.blobs[ref] = kind
        lost.replaces |= {pack, ref.pack}


def refill(repository: Repository, lost: Lost, sources: BlobSources) -> tuple[int, list[BlobRef]]:
    """The blobs that anybody has are in a new pack, and needed there; how many, and those that nobody has. RP013."""
    nowhere: list[BlobRef] = []
    with moving(repository, purpose="repair") as move:
        for ref, kind in lost.blobs.items():
            try:
                move.put(sources.read(ref), kind)
            except errors.Damaged:
                nowhere.append(ref)
        move.replace(lost.replaces)
        move.finish(lost.cluster)
    return len(lost.blobs) - len(nowhere), nowhere


def link(repository: Repository, links: dict[tuple[str, bytes], set[bytes]]) -> None:
    """References to packs that are gone are served by these, durably, but for those that are condemned. RP013."""
    store, keyring = repository.store, repository.keyring
    for cluster in sorted({cluster for cluster, _ in links}):
        ours = {pack: old for (of, pack), old in links.items() if of == cluster}
        for share in shares(read_table(store, keyring, pack) for pack in sorted(ours)):
            with moving(repository, purpose="repair") as move:
                for contents in share:
                    if move.lease.is_usable(contents.pack):
                        move.serve_from(contents)
                        move.replace(ours[contents.pack])
                move.finish(cluster)


def link_actions(losses: Losses) -> list[RepairAction]:
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
