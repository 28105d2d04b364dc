"""From blobs that cannot be read to what that means: which backups, and which files of them.

What is to blame is the pack where a blob lies now (tried_blobs.py), not the one that its reference names.

One walk over all backups. They share nearly all their nodes, so what a node leads to is found out once; memory grows
with the number of nodes and with what is lost, not with the number of backups. Every node on the way is read and
authenticated, so the walk is also the check of the trees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from safepoint import errors
from safepoint.model.backup import BackupManifest, BlobRef
from safepoint.repository.care.finding import MOST_PATHS, Affected, Loss, affected_backup
from safepoint.repository.care.node_source import NodeSource
from safepoint.repository.care.progress import Progress, Report, no_report
from safepoint.repository.care.tried_blobs import UNREADABLE, TriedBlobs
from safepoint.repository.maps import listing, page_map, tree
from safepoint.repository.maps.chunk import FINGERPRINTS, PAGE_MAPS
from safepoint.repository.maps.listing import Chunk, Entry, ListingNode
from safepoint.repository.maps.nodes import Kind, Node, NodeChain, NodeReader
from safepoint.repository.maps.shape import chunk_size, pages_of
from safepoint.repository.repository import Repository

_TALLEST = 16
_NONE: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Harm:
    """What is lost below a node by what happened to one pack; see `Affected`."""

    paths: tuple[str, ...] = ()
    path_count: int = 0
    is_complete: bool = True
    only_fingerprints: bool = False

    def __add__(self, other: _Harm) -> _Harm:
        return _Harm(
            paths=(*self.paths, *other.paths)[:MOST_PATHS],
            path_count=self.path_count + other.path_count,
            is_complete=self.is_complete and other.is_complete,
            only_fingerprints=self.only_fingerprints and other.only_fingerprints,
        )


_Harms = Mapping[bytes, _Harm]
"""By pack."""

_UNLISTED = _Harm(is_complete=False)
_UNCOMPARED = _Harm(only_fingerprints=True)
_NO_HARM: _Harms = {}


class Walk:
    """Walks backups one after another, each node once. One thread at a time may use it.

    `needed` are the packs that were led to, `broken` those with a node that cannot be read, and why; `touched` those
    to blame for a lost blob, also one that no backup shows any more because later changes cover it up.
    """

    def __init__(self, nodes: NodeReader, tried: TriedBlobs) -> None:
        self.needed: set[bytes] = set()
        self.touched: set[bytes] = set()
        self.broken: dict[bytes, errors.SafepointError] = {}
        self._nodes = nodes
        self._tried = tried
        self._listings: dict[bytes, _Harms] = {}
        self._spans: dict[bytes, tuple[bytes, bytes]] = {}  # of a listing's node: its first key, the last below it
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

    def _listing(self, ref: BlobRef, height: int) -> _Harms:
        found = self._listings.get(ref.id)
        if found is None:
            found = self._listings[ref.id] = self._below(ref, height) or _NO_HARM
        return found

    def _below(self, ref: BlobRef, height: int) -> _Harms:
        try:
            chain = self._chain(tree.LISTINGS, ref)
            if chain.value.level >= height:
                raise errors.RP005.error(
                    f"found a listing that does not descend at {ref.id.hex()[:16]}, expected it to"
                )
            self._take(chain)
            if chain.value.level:
                return self._children(ref, chain, height)
            if keys := [key for key, _ in chain.value.items]:
                self._spans[ref.id] = keys[0], keys[-1]
            return self._entries(chain)
        except errors.SafepointError as error:
            self._unread.add(ref.id)
            return dict.fromkeys(self._blame(tree.LISTINGS, ref, error), _UNLISTED)

    def _children(self, node: BlobRef, chain: NodeChain[ListingNode], height: int) -> _Harms:
        harms: dict[bytes, _Harm] = {}
        try:
            below = tuple(listing.children(chain.value))
        except ValueError as error:
            raise errors.RP005.error(f"cannot use the listing {chain.head.id.hex()[:16]}: {error}") from error
        for (first, ref), (end, _) in zip(below, (*below[1:], (None, None)), strict=True):
            for pack, harm in self._listing(ref, min(height, chain.value.level)).items():
                _add(harms, pack, harm)
            self._require_span(chain, ref, first, end)
        if below and (span := self._spans.get(below[-1][1].id)) is not None:
            self._spans[node.id] = below[0][0], span[1]
        return harms

    def _require_span(self, chain: NodeChain[ListingNode], ref: BlobRef, first: bytes, end: bytes | None) -> None:
        """RP005 for a node with other keys than the one above it announces; whoever reads it all would refuse it."""
        span = self._spans.get(ref.id)
        if span is not None and (span[0] != first or (end is not None and span[1] >= end)):
            raise errors.RP005.error(
                f"found keys {span[0]!r} to {span[1]!r} below the listing {chain.head.id.hex()[:16]},"
                f" expected them from {first!r} on, and none of the next node's"
            )

    def _entries(self, chain: NodeChain[ListingNode]) -> _Harms:
        harms: dict[bytes, _Harm] = {}
        for entry in tree.entries_of(chain):
            lost = set(self._blamed(entry.blobs))
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
            if not page_map.has_all(chain.value, pages):
                raise errors.RP005.error(
                    f"found the page map {head.id.hex()[:16]} with pages missing, expected all {pages} of its chunk"
                )
        except errors.SafepointError as error:
            return self._blame(PAGE_MAPS, head, error)
        self._take(chain)
        lost = [self._of_link(link.ref, link.node.blobs) for link in chain.links]
        if not any(lost):
            return _NONE
        shown = page_map.cut(chain.value, pages).blobs
        return self._blamed(shown)

    def _of_link(self, ref: BlobRef, blobs: Iterable[BlobRef]) -> frozenset[bytes]:
        """The packs to blame for the lost blobs that the node names, covered up or not."""
        found = self._links.get(ref.id)
        if found is None:
            found = self._links[ref.id] = self._blamed(blobs)
        return found

    def _fingerprint(self, chunk: Chunk) -> frozenset[bytes]:
        head = chunk.fingerprints
        found = self._fingerprints.get(head.id)
        if found is None:
            found = _NONE
            try:
                self._take(self._chain(FINGERPRINTS, head))
            except errors.SafepointError as error:
                found = self._blame(FINGERPRINTS, head, error)
            self._fingerprints[head.id] = found
        return found

    def _blamed(self, blobs: Iterable[BlobRef]) -> frozenset[bytes]:
        blamed = _NONE
        for ref in blobs:
            self.needed.add(ref.pack)
            blamed |= self._tried.blamed(ref)
        self.touched |= blamed
        return blamed

    def _take(self, chain: NodeChain[Node]) -> None:
        for link in chain.links:
            if link.ref.id not in self._read:
                self._read.add(link.ref.id)
                self.needed.add(link.ref.pack)
                self._tried.blamed(link.ref)  # it was read: asked so that the pack where it lies now counts as used

    def _chain(self, kind: Kind[Node], head: BlobRef) -> NodeChain[Node]:
        self.needed.add(head.pack)
        return self._nodes.chain(kind, head)

    def _blame(self, kind: Kind[Node], head: BlobRef, error: errors.SafepointError) -> frozenset[bytes]:
        """Where the first node of the chain lies that cannot be read; the error again when it is not about that."""
        if error.spec not in UNREADABLE:
            raise error
        blamed, ref = head, head
        while ref is not None:
            blamed = ref
            self.needed.add(blamed.pack)
            try:
                _, ref = kind.decode(self._nodes.read(ref))
            except ValueError:
                break
            except errors.SafepointError as why:
                error = why
                break
        culprits = self._tried.culprits(blamed)
        for pack in culprits:
            self.broken.setdefault(pack, error)
        return culprits


def affected_by_packs(
    repository: Repository,
    packs: AbstractSet[bytes],
    manifests: Iterable[BackupManifest],
    *,
    listed: AbstractSet[bytes],
    report: Report = no_report,
) -> Mapping[bytes, tuple[Affected, ...]]:
    """What the backups lose by these damaged packs: the blobs that lie in them now are tried one by one."""
    if not packs:
        return {}
    tried = TriedBlobs(repository, listed, lambda place: place.pack in listed and place.pack not in packs)
    return attribute(Walk(NodeSource(repository).reader(), tried), manifests, report)


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


def _blame_entry(
    harms: dict[bytes, _Harm], entry: Entry, lost: Iterable[bytes], uncompared: AbstractSet[bytes]
) -> None:
    blamed = frozenset(lost)
    for pack in blamed:
        _add(harms, pack, _Harm(paths=(entry.path,), path_count=1))
    for pack in uncompared - blamed:
        _add(harms, pack, _UNCOMPARED)


def _add(harms: dict[bytes, _Harm], pack: bytes, harm: _Harm) -> None:
    before = harms.get(pack)
    harms[pack] = harm if before is None else before + harm


def _affected(manifest: BackupManifest, harm: _Harm, *, is_unlisted: bool) -> Affected:
    loses = Loss.EVERYTHING if is_unlisted else Loss.FINGERPRINTS if harm.only_fingerprints else Loss.FILES
    return replace(
        affected_backup(manifest, loses),
        paths=harm.paths,
        path_count=harm.path_count,
        is_complete=harm.is_complete,
    )
