"""What backups refer to: the packs and blobs of their listings, maps and files. For collection, checks and figures.

Backups share nearly all their nodes, so nodes that were walked once are not walked again.
"""

from __future__ import annotations

from collections.abc import Iterator

from safepoint.model.backup import BlobRef
from safepoint.repository.maps import tree
from safepoint.repository.maps.chunk import FINGERPRINTS, PAGE_MAPS
from safepoint.repository.maps.listing import Chunk
from safepoint.repository.maps.nodes import Node, NodeChain, NodeReader
from safepoint.repository.packs.pack import BlobKind


class References:
    """Walks backups one after another; each node is given once in all. One thread at a time may use it."""

    def __init__(self, nodes: NodeReader) -> None:
        self._nodes = nodes
        self._walked: set[bytes] = set()

    def of(self, root: BlobRef) -> Iterator[tuple[BlobRef, BlobKind]]:
        """The blobs that the backup with this root needs, but for those below nodes that were walked before.

        A blob of data may be given more than once. RP004, RP005 when a node cannot be read: then it is unknown what
        else the backup needs.
        """
        for chain in tree.walk(self._nodes, root, is_known=self._walked.__contains__):
            yield from self._new_nodes(chain)
            if chain.value.level == 0:
                for entry in tree.entries_of(chain):
                    yield from ((ref, BlobKind.DATA) for ref in entry.blobs)
                    for chunk in entry.chunks:
                        yield from self._of_chunk(chunk)

    def _of_chunk(self, chunk: Chunk) -> Iterator[tuple[BlobRef, BlobKind]]:
        if chunk.map.id not in self._walked:
            maps = self._nodes.chain(PAGE_MAPS, chunk.map)
            for link in maps.links:
                # What changes cover up counts as well: chains are shared, and another backup may end at an older link.
                if link.ref.id not in self._walked:
                    yield from ((ref, BlobKind.DATA) for ref in link.node.blobs)
            yield from self._new_nodes(maps)
        if chunk.fingerprints.id not in self._walked:
            yield from self._new_nodes(self._nodes.chain(FINGERPRINTS, chunk.fingerprints))

    def _new_nodes(self, chain: NodeChain[Node]) -> Iterator[tuple[BlobRef, BlobKind]]:
        for link in chain.links:
            if link.ref.id not in self._walked:
                self._walked.add(link.ref.id)
                yield link.ref, BlobKind.NODE
