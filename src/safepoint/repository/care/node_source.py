"""Nodes for whoever walks all backups: fetched by whole node packs, because nearly all nodes of a pack are needed.

One request brings thousands of nodes where one request each would wait for a network thousands of times.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from dataclasses import replace

from safepoint.model.backup import BlobRef
from safepoint.repository.maps.nodes import NodeReader
from safepoint.repository.names import pack_name
from safepoint.repository.packs.pack import PackOpener, blob_id_key, open_pack
from safepoint.repository.repository import Repository
from safepoint.repository.sealing.seal import BrokenSeal
from safepoint.stores.port import NotFound

_FETCHED_BYTES = 16 * 1024 * 1024  # more than a node pack has; a forged reference may lead to a pack of data
_CACHED_BYTES = 64 * 1024 * 1024
_CACHED_PACKS = 1024

_Held = tuple[PackOpener, bytes]


class NodeSource:
    """Opens nodes, each authenticated; about 64 MiB in memory. One thread at a time may use it."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._id_key = blob_id_key(repository.keyring)
        self._packs: OrderedDict[bytes, _Held] = OrderedDict()
        self._held_bytes = 0

    def reader(self) -> NodeReader:
        """A reader of chains over this."""
        return NodeReader(self.read_blob)

    def read_blob(self, ref: BlobRef) -> bytes:
        """The node, from its pack or wherever it lies now; RP004, RP005, RP008."""
        place, (opener, data) = ref, self._held(ref.pack)
        if not data and (moved := self._repository.find_blob(ref.id)):
            place = replace(moved[0], id=ref.id, raw_length=ref.raw_length)  # its seal decides
            opener, data = self._held(place.pack)
        with contextlib.suppress(BrokenSeal):
            return opener.open(place, memoryview(data)[place.offset : place.offset + place.length])
        return self._repository.blobs.read_blob(ref)  # it may lie elsewhere; otherwise this says what is wrong

    def _held(self, pack: bytes) -> _Held:
        found = self._packs.get(pack) or self._fetch(pack)
        self._packs.move_to_end(pack)
        return found

    def _fetch(self, pack: bytes) -> _Held:
        opener = open_pack(self._repository.keyring, self._id_key, pack)
        try:
            data = self._repository.store.get_range(pack_name(pack), 0, _FETCHED_BYTES)
        except NotFound:
            data = b""
        self._packs[pack] = held = (opener, data)
        self._held_bytes += len(data)
        while len(self._packs) > 1 and (self._held_bytes > _CACHED_BYTES or len(self._packs) > _CACHED_PACKS):
            self._held_bytes -= len(self._packs.popitem(last=False)[1][1])
        return held
