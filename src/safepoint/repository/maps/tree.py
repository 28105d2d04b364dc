"""The listing of a backup as nodes in packs: read whole or by path, written against the parent's.

Nodes of level 0 that the parent has under the same first key are written as changes; what did not change is the
parent's node. Levels above are small and written whole: equal content is the same blob.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.maps import listing
from safepoint.repository.maps.listing import Entry, Items, ListingNode
from safepoint.repository.maps.nodes import Kind, NodeChain, NodeReader, NodeWriter
from safepoint.repository.maps.refs import encode_ref

_TALLEST = 16


LISTINGS: Kind[ListingNode] = Kind(
    name="listing", encode=listing.encode_node, decode=listing.decode_node, overlay=listing.overlay
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentListing:
    """What the parent backup lists: its entries, encoded, and its nodes of level 0 by their first keys."""

    values: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    nodes: dict[bytes, NodeChain[ListingNode]] = field(default_factory=dict[bytes, "NodeChain[ListingNode]"])

    def entry(self, path: str) -> Entry | None:
        """The entry of this path, None when there is none; ValueError for a path that is none, RP005."""
        key = listing.key_of(path)
        value = self.values.get(key)
        try:
            return None if value is None else listing.decode_entry(key, value)
        except ValueError as error:
            raise errors.RP005.error(f"cannot use what the parent backup lists as {path!r}: {error}") from error


def read_parent(nodes: NodeReader, root: BlobRef) -> ParentListing:
    """All that a parent lists; RP004, RP005."""
    found = ParentListing()
    for chain in level_0(nodes, root):
        items = chain.value.items
        if items:
            found.nodes[items[0][0]] = chain
            found.values.update((key, value) for key, value in items if value is not None)
    return found


def entries(nodes: NodeReader, root: BlobRef) -> Iterator[Entry]:
    """All entries in the order of their paths' bytes; RP004, RP005."""
    for chain in level_0(nodes, root):
        yield from entries_of(chain)


def entries_of(chain: NodeChain[ListingNode]) -> Iterator[Entry]:
    """The entries of a node of level 0; RP005."""
    for key, value in chain.value.items:
        yield _entry(chain.head, key, value)


def find(nodes: NodeReader, root: BlobRef, path: str) -> Entry | None:
    """The entry of this path, None when there is none; reads one node of each level. RP004, RP005."""
    key = listing.key_of(path)
    ref = root
    for _ in range(_TALLEST):
        chain = nodes.chain(LISTINGS, ref)
        if chain.value.level == 0:
            value = dict(chain.value.items).get(key)
            return None if value is None else _entry(chain.head, key, value)
        below = tuple(_children(chain))
        at = bisect_right([first for first, _ in below], key) - 1
        if at < 0:
            return None
        ref = below[at][1]
    raise _too_tall(root)


def level_0(nodes: NodeReader, root: BlobRef) -> Iterator[NodeChain[ListingNode]]:
    """The nodes of level 0 from left to right; RP004, RP005."""
    for chain in walk(nodes, root):
        if chain.value.level == 0:
            yield chain


def walk(
    nodes: NodeReader, root: BlobRef, *, is_known: Callable[[bytes], bool] | None = None
) -> Iterator[NodeChain[ListingNode]]:
    """All nodes of the listing, each before those below it; without what `is_known` says was walked before."""
    stack: list[_Branch] = [_Branch(ref=root, height=_TALLEST, first=None, end=None)]
    while stack:
        branch = stack.pop()
        if is_known is not None and is_known(branch.ref.id):
            continue
        chain = nodes.chain(LISTINGS, branch.ref)
        if chain.value.level >= branch.height:
            raise _too_tall(root)
        _require_keys(chain, branch)
        yield chain
        if chain.value.level:
            stack.extend(reversed(_branches(chain, branch.end)))


def write(writer: NodeWriter, listed: Sequence[Entry], parent: ParentListing) -> BlobRef:
    """The root of a listing of these entries, sorted by key."""
    items: Items = tuple((listing.key_of(entry.path), listing.encode_entry(entry)) for entry in listed)
    level = 0
    while True:
        cut = _cut(items)
        refs = [_put(writer, ListingNode(level=level, items=node), parent) for node in cut]
        if len(refs) == 1:
            return refs[0]
        items = tuple((node[0][0], encode_ref(ref)) for node, ref in zip(cut, refs, strict=True))
        level += 1


def _cut(items: Items) -> list[Items]:
    ends = listing.boundaries([key for key, _ in items])
    return [items[start:end] for start, end in zip([0, *ends], ends, strict=False)] or [()]


def _put(writer: NodeWriter, node: ListingNode, parent: ParentListing) -> BlobRef:
    before = parent.nodes.get(node.items[0][0]) if node.items and node.level == 0 else None
    if before is None:
        return writer.full(LISTINGS, node)
    changes = listing.changes_between(before.value, node)
    if not changes.items:
        return before.head
    return writer.changed(LISTINGS, before, changes, lambda: node)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Branch:
    """A node to be walked: it is of a lower level than `height`, its first key is `first`, and all are below `end`."""

    ref: BlobRef
    height: int
    first: bytes | None
    end: bytes | None


def _branches(chain: NodeChain[ListingNode], end: bytes | None) -> list[_Branch]:
    below = tuple(_children(chain))
    ends = [*(key for key, _ in below[1:]), end]
    return [
        _Branch(ref=ref, height=chain.value.level, first=key, end=until)
        for (key, ref), until in zip(below, ends, strict=False)
    ]


def _require_keys(chain: NodeChain[ListingNode], branch: _Branch) -> None:
    """RP005 for keys that the node above does not announce: nothing is listed twice, and the walk has an end."""
    keys = [key for key, _ in chain.value.items]
    if branch.first is not None and (not keys or keys[0] != branch.first):
        found = "none" if not keys else repr(keys[0])
        raise _unusable(chain.head, f"found {found} as its first key, expected {branch.first!r}")
    if branch.end is not None and keys and keys[-1] >= branch.end:
        raise _unusable(chain.head, f"found the key {keys[-1]!r}, expected all below {branch.end!r}")


def _children(chain: NodeChain[ListingNode]) -> Iterator[tuple[bytes, BlobRef]]:
    try:
        yield from listing.children(chain.value)
    except ValueError as error:
        raise _unusable(chain.head, str(error)) from error


def _entry(node: BlobRef, key: bytes, value: bytes | None) -> Entry:
    try:
        return listing.decode_entry(key, value or b"")
    except ValueError as error:
        raise _unusable(node, str(error)) from error


def _unusable(ref: BlobRef, why: str) -> errors.SafepointError:
    return errors.RP005.error(f"cannot use the listing {ref.id.hex()[:16]} in pack {ref.pack.hex()[:16]}: {why}")


def _too_tall(root: BlobRef) -> errors.SafepointError:
    return _unusable(root, f"found more than {_TALLEST} levels or one that does not descend, expected a tree")
