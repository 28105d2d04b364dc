"""From blobs that cannot be read to what that means: which backups, and which files of them.

One walk over all backups. They share nearly all their nodes, so what a node leads to is found out once; memory grows
with the number of nodes and with what is lost, not with the number of backups. Every node on the way is read and
authenticated, so the walk is also the check of the trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from safepoint import errors
from safepoint.model.backup import BackupManifest, BlobRef
from safepoint.repository.care.finding import MOST_PATHS, Affected, Loss, affected_backup
from safepoint.repository.care.node_source import NodeSource
from safepoint.repository.care.progress import Progress, Report, no_report
from safepoint.repository.maps import listing, page_map, tree
from safepoint.repository.maps.chunk import FINGERPRINTS, PAGE_MAPS
from safepoint.repository.maps.listing import Chunk, Entry, ListingNode
from safepoint.repository.maps.nodes import Kind, Node, NodeChain, NodeReader
from safepoint.repository.maps.shape import chunk_size, pages_of
from safepoint.repository.packs.index import survey_indexes
from safepoint.repository.packs.index_cache import IndexCache
from safepoint.repository.repository import Repository

_TALLEST = 16
_UNREADABLE = frozenset({errors.RP004, errors.RP005, errors.RP008})
_NONE: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """What is lost below a node by what happened to one pack; see `Affected`."""

    paths: tuple[str, ...] = ()
    path_count: int = 0
    is_complete: bool = True
    only_fingerprints: bool = False

    def __add__(self, other: Harm) -> Harm:
        return Harm(
            paths=(*self.paths, *other.paths)[:MOST_PATHS],
            path_count=self.path_count + other.path_count,
            is_complete=self.is_complete and other.is_complete,
            only_fingerprints=self.only_fingerprints and other.only_fingerprints,
        )


Harms = Mapping[bytes, Harm]
"""By pack."""

_UNLISTED = Harm(is_complete=False)
_UNCOMPARED = Harm(only_fingerprints=True)
_NO_HARM: Harms = {}


class Walk:
    """Walks backups one after another, each node once. One thread at a time may use it.

    `needed` are the packs that were led to, `broken` those with a node that cannot be read, and why; `touched` those
    with a lost blob, also one that no backup shows any more because later changes cover it up.
    """

    def __init__(self, nodes: NodeReader, is_lost: Callable[[BlobRef], bool]) -> None:
        self.needed: set[bytes] = set()
        self.touched: set[bytes] = set()
        self.broken: dict[bytes, errors.SafepointError] = {}
        self._nodes = nodes
        self._is_lost = is_lost
        self._listings: dict[bytes, Harms] = {}
        self._unread: set[bytes] = set()
        self._read: set[bytes] = set()
        self._links: dict[bytes, frozenset[bytes]] = {}
        self._maps: dict[tuple[bytes, int], frozenset[bytes]] = {}
        self._fingerprints: dict[bytes, frozenset[bytes]] = {}

    @property
    def nodes(self) -> int:
        """How many nodes of maps and listings were read."""
        return len(self._read)

    def affected(self, manifest: BackupManifest) -> Mapping[bytes, Affected]:
        """What the backup loses, by the pack that is to blame."""
        harms = self._listing(manifest.root, _TALLEST)
        is_unlisted = manifest.root.id in self._unread
        return {pack: _affected(manifest, harm, is_unlisted=is_unlisted) for pack, harm in harms.items()}

    def _listing(self, ref: BlobRef, height: int) -> Harms:
        found = self._listings.get(ref.id)
        if found is None:
            found = self._listings[ref.id] = self._below(ref, height) or _NO_HARM
        return found

    def _below(self, ref: BlobRef, height: int) -> Harms:
        try:
            chain = self._chain(tree.LISTINGS, ref)
            if chain.value.level >= height:
                raise errors.RP005.error(
                    f"found a listing that does not descend at {ref.id.hex()[:16]}, expected it to"
                )
            self._take(chain)
            return self._children(chain, height) if chain.value.level else self._entries(chain)
        except errors.SafepointError as error:
            self._unread.add(ref.id)
            return {self._blame(tree.LISTINGS, ref, error): _UNLISTED}

    def _children(self, chain: NodeChain[ListingNode], height: int) -> Harms:
        harms: dict[bytes, Harm] = {}
        try:
            below = tuple(listing.children(chain.value))
        except ValueError as error:
            raise errors.RP005.error(f"cannot use the listing {chain.head.id.hex()[:16]}: {error}") from error
        for _, ref in below:
            for pack, harm in self._listing(ref, min(height, chain.value.level)).items():
                _add(harms, pack, harm)
        return harms

    def _entries(self, chain: NodeChain[ListingNode]) -> Harms:
        harms: dict[bytes, Harm] = {}
        for entry in tree.entries_of(chain):
            lost = {ref.pack for ref in self._lost(entry.blobs)}
            uncompared: set[bytes] = set()
            for number, chunk in enumerate(entry.chunks):
                lost |= self._page_map(chunk, pages_of(chunk_size(entry.size, number)))
                uncompared |= self._fingerprint(chunk)
            _blame_entry(harms, entry, lost, uncompared)
        return harms

    def _page_map(self, chunk: Chunk, pages: int) -> frozenset[bytes]:
        key = (chunk.map.id, pages)
        found = self._maps.get(key)
        if found is None:
            found = self._maps[key] = self._below_map(chunk.map, pages) or _NONE
        return found

    def _below_map(self, head: BlobRef, pages: int) -> frozenset[bytes]:
        try:
            chain = self._chain(PAGE_MAPS, head)
        except errors.SafepointError as error:
            return frozenset({self._blame(PAGE_MAPS, head, error)})
        self._take(chain)
        lost = [self._of_link(link.ref, link.node.blobs) for link in chain.links]
        if not any(lost):
            return _NONE
        shown = page_map.cut(chain.value, pages).blobs
        return frozenset(ref.pack for ref in self._lost(shown))

    def _of_link(self, ref: BlobRef, blobs: Iterable[BlobRef]) -> frozenset[bytes]:
        """The packs of the lost blobs that the node names, covered up or not."""
        found = self._links.get(ref.id)
        if found is None:
            found = self._links[ref.id] = frozenset(blob.pack for blob in self._lost(blobs)) or _NONE
        return found

    def _fingerprint(self, chunk: Chunk) -> frozenset[bytes]:
        head = chunk.fingerprints
        found = self._fingerprints.get(head.id)
        if found is None:
            found = _NONE
            try:
                self._take(self._chain(FINGERPRINTS, head))
            except errors.SafepointError as error:
                found = frozenset({self._blame(FINGERPRINTS, head, error)})
            self._fingerprints[head.id] = found
        return found

    def _lost(self, blobs: Iterable[BlobRef]) -> list[BlobRef]:
        lost: list[BlobRef] = []
        for ref in blobs:
            self.needed.add(ref.pack)
            if self._is_lost(ref):
                lost.append(ref)
                self.touched.add(ref.pack)
        return lost

    def _take(self, chain: NodeChain[Node]) -> None:
        for link in chain.links:
            if link.ref.id not in self._read:
                self._read.add(link.ref.id)
                self.needed.add(link.ref.pack)
                self._is_lost(link.ref)  # it was read: asked so that the pack where it lies now counts as used

    def _chain(self, kind: Kind[Node], head: BlobRef) -> NodeChain[Node]:
        self.needed.add(head.pack)
        return self._nodes.chain(kind, head)

    def _blame(self, kind: Kind[Node], head: BlobRef, error: errors.SafepointError) -> bytes:
        """The pack of the first node of the chain that cannot be read; the error again when it is not about that."""
        if error.spec not in _UNREADABLE:
            raise error
        ref: BlobRef | None = head
        blamed = head.pack
        while ref is not None:
            blamed = ref.pack
            self.needed.add(blamed)
            try:
                _, ref = kind.decode(self._nodes.read(ref))
            except ValueError:
                break
            except errors.SafepointError as why:
                error = why
                break
        self.broken.setdefault(blamed, error)
        return blamed


class Losses:
    """Whether blobs can be read that lie in packs which are not sound, or that are not there.

    `listed` are the packs that are there. A blob of such a pack is tried; if that fails, or the pack is gone, it is
    looked up in the indexes: packs that were rewritten have left it in a sound one. `used` are those packs.
    """

    def __init__(self, repository: Repository, listed: AbstractSet[bytes], is_sound: Callable[[bytes], bool]) -> None:
        self._repository = repository
        self._listed = listed
        self.used: set[bytes] = set()
        self._is_sound = is_sound
        self._known: dict[BlobRef, bool] = {}
        self._caches: list[IndexCache] | None = None

    def is_lost(self, ref: BlobRef) -> bool:
        """Whether no place is known where it can be read. One that no key here opens is not known to be lost."""
        found = self._known.get(ref)
        if found is None:
            found = self._known[ref] = not (self._can_read(ref) or self._is_elsewhere(ref))
        return found

    def _can_read(self, ref: BlobRef) -> bool:
        if ref.pack not in self._listed:
            return False
        try:
            self._repository.blobs.read_blob(ref)
        except errors.SafepointError as error:
            if error.spec not in _UNREADABLE:
                raise
            return error.spec is errors.RP008
        return True

    def _is_elsewhere(self, ref: BlobRef) -> bool:
        for cache in self._opened():
            for place in cache.lookup_all(ref.id):
                if place.pack != ref.pack and place.pack in self._listed and self._is_sound(place.pack):
                    self.used.add(place.pack)
                    return True
        return False

    def _opened(self) -> list[IndexCache]:
        if self._caches is None:
            facts = survey_indexes(self._repository.store, self._repository.keyring).facts.values()
            clusters = sorted({fact.cluster for fact in facts})
            self._caches = [self._repository.index_cache(cluster) for cluster in clusters]
            for cache in self._caches:
                cache.refresh(self._repository.store, self._repository.keyring)
        return self._caches


def affected_by_packs(
    repository: Repository,
    packs: AbstractSet[bytes],
    manifests: Iterable[BackupManifest],
    *,
    listed: AbstractSet[bytes],
    report: Report = no_report,
) -> Mapping[bytes, tuple[Affected, ...]]:
    """What the backups lose by these packs, each damaged or missing: their blobs are tried one by one."""
    if not packs:
        return {}
    losses = Losses(repository, listed, lambda pack: pack not in packs)
    walk = Walk(NodeSource(repository).reader(), lambda ref: ref.pack in packs and losses.is_lost(ref))
    return attribute(walk, manifests, report)


def attribute(
    walk: Walk, manifests: Iterable[BackupManifest], report: Report = no_report
) -> Mapping[bytes, tuple[Affected, ...]]:
    """What each of the backups loses, by pack."""
    found: dict[bytes, tuple[Affected, ...]] = {}
    waiting = tuple(manifests)
    for done, manifest in enumerate(waiting, 1):
        for pack, affected in walk.affected(manifest).items():
            found[pack] = (*found.get(pack, ()), affected)
        report(Progress(done=done, total=len(waiting), unit="backups"))
    return found


def _blame_entry(harms: dict[bytes, Harm], entry: Entry, lost: Iterable[bytes], uncompared: AbstractSet[bytes]) -> None:
    blamed = frozenset(lost)
    for pack in blamed:
        _add(harms, pack, Harm(paths=(entry.path,), path_count=1))
    for pack in uncompared - blamed:
        _add(harms, pack, _UNCOMPARED)


def _add(harms: dict[bytes, Harm], pack: bytes, harm: Harm) -> None:
    before = harms.get(pack)
    harms[pack] = harm if before is None else before + harm


def _affected(manifest: BackupManifest, harm: Harm, *, is_unlisted: bool) -> Affected:
    loses = Loss.EVERYTHING if is_unlisted else Loss.FINGERPRINTS if harm.only_fingerprints else Loss.FILES
    return replace(
        affected_backup(manifest, loses),
        paths=harm.paths,
        path_count=harm.path_count,
        is_complete=harm.is_complete,
    )
