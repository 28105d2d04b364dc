"""Nodes of maps and listings in packs: read as chains, written as changes or whole.

A chain is a full node and the changes nodes on top of it. What a chain says is decided in `page_map`, `fingerprints`
and `listing`; when it is time for a full node is decided in `chain`; here both meet the packs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.maps import chain

Node = TypeVar("Node")
_CACHED_BYTES = 32 * 1024 * 1024
_DEEPEST_CHAIN = 64  # twice what the policy can make; a loop would need a collision of BLAKE3


@dataclass(frozen=True, slots=True, kw_only=True)
class Link(Generic[Node]):
    """One node of a chain: where it lies, its encoded size, and what it says by itself."""

    ref: BlobRef
    size: int
    node: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[Node]):
    """How nodes of one kind are encoded, decoded and laid over one another."""

    name: str
    encode: Callable[[Node, BlobRef | None], bytes]
    decode: Callable[[bytes], tuple[Node, BlobRef | None]]
    overlay: Callable[[Node, Node], Node]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeChain(Generic[Node]):
    """A full node and the changes on top of it, oldest first, and what they say together."""

    links: tuple[Link[Node], ...]
    value: Node

    @property
    def head(self) -> BlobRef:
        """What names the chain: its newest node."""
        return self.links[-1].ref


class NodeReader:
    """Reads nodes through a cache of a bounded number of bytes. One thread at a time may use it."""

    def __init__(self, read_blob: Callable[[BlobRef], bytes]) -> None:
        self._read_blob = read_blob
        self._cache: OrderedDict[bytes, bytes] = OrderedDict()
        self._cached_bytes = 0

    def read(self, ref: BlobRef) -> bytes:
        """The encoded node; RP004, RP005."""
        if ref.id in self._cache:
            self._cache.move_to_end(ref.id)
            return self._cache[ref.id]
        data = self._read_blob(ref)
        self._cache[ref.id] = data
        self._cached_bytes += len(data)
        while self._cached_bytes > _CACHED_BYTES and len(self._cache) > 1:
            self._cached_bytes -= len(self._cache.popitem(last=False)[1])
        return data

    def chain(self, kind: Kind[Node], head: BlobRef) -> NodeChain[Node]:
        """The chain whose newest node is `head`; RP004, RP005."""
        links: list[Link[Node]] = []
        ref: BlobRef | None = head
        while ref is not None:
            data = self.read(ref)
            try:
                node, below = kind.decode(data)
            except ValueError as error:
                raise _unusable(kind.name, ref, str(error)) from error
            links.append(Link(ref=ref, size=len(data), node=node))
            ref = below
            if len(links) > _DEEPEST_CHAIN:
                raise _unusable(kind.name, head, f"found more than {_DEEPEST_CHAIN} changes on one another")
        links.reverse()
        value = links[0].node
        for link in links[1:]:
            value = kind.overlay(value, link.node)
        return NodeChain(links=tuple(links), value=value)


@dataclass(slots=True)
class NodeWriter:
    """Puts nodes and counts their bytes."""

    put: Callable[[bytes], BlobRef]
    stored_bytes: int = field(default=0)

    def full(self, kind: Kind[Node], value: Node) -> BlobRef:
        """A chain of one full node."""
        return self._put(kind.encode(value, None))

    def changed(self, kind: Kind[Node], before: NodeChain[Node], changes: Node, whole: Callable[[], Node]) -> BlobRef:
        """The chain `before` with the changes on top; `whole()` is what both say together, asked for if needed."""
        links, merged = list(before.links), changes
        while True:
            encoded = kind.encode(merged, links[-1].ref)
            count = chain.swallowed([link.size for link in links], len(encoded), spread=links[0].ref.id[0])
            if count is None:
                return self.full(kind, whole())
            if count == 0:
                return self._put(encoded)
            for _ in range(count):
                merged = kind.overlay(links.pop().node, merged)

    def _put(self, data: bytes) -> BlobRef:
        ref = self.put(data)
        self.stored_bytes += ref.length
        return ref


def _unusable(kind: str, ref: BlobRef, why: str) -> errors.SafepointError:
    return errors.RP005.error(
        f"cannot use the {kind} {ref.id.hex()[:16]} in pack {ref.pack.hex()[:16]}: {why}",
        hints=[errors.ask("was it written by a later version, or by somebody without the key?")],
    )
