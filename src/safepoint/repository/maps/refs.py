"""References to blobs as bytes, and the reading of nodes from bytes that anybody may have written.

Without encryption nothing but these checks stands between a forged node and the reader: whatever is wrong with the
bytes is a ValueError that tells what was found and what was expected, never another error and never a long loop.
"""

from __future__ import annotations

import struct
from typing import Any

from safepoint.model.backup import BlobRef
from safepoint.repository.maps.shape import Node
from safepoint.repository.sealing.seal import ID_BYTES

_REF = struct.Struct(">32s32sIII")
REF_BYTES = _REF.size


def encode_ref(ref: BlobRef) -> bytes:
    """The reference as REF_BYTES bytes."""
    check_ids(ref)
    return _REF.pack(ref.id, ref.pack, ref.offset, ref.length, ref.raw_length)


def decode_ref(buffer: bytes | memoryview, at: int) -> BlobRef:
    """The reference that begins at byte `at`."""
    return Cursor(buffer, at).ref()


def check_ids(ref: BlobRef) -> None:
    """ValueError for names that the format cannot hold: struct would cut or pad them without a word."""
    if len(ref.id) != ID_BYTES or len(ref.pack) != ID_BYTES:
        raise ValueError(f"found names of {len(ref.id)} and {len(ref.pack)} bytes, expected {ID_BYTES} each")


def encode_start(node: Node, base: BlobRef | None) -> bytes:
    """How a node begins: its type, and for changes the node they change. `node` names the whole node's type."""
    return bytes([node]) if base is None else bytes([node + 1]) + encode_ref(base)


class Cursor:
    """Reads one value after another; ValueError where the bytes end too early."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes | memoryview, at: int = 0) -> None:
        self._data = memoryview(data)
        self._at = at

    @property
    def left(self) -> int:
        """How many bytes are still to be read."""
        return len(self._data) - self._at

    def take(self, count: int) -> memoryview:
        """The next `count` bytes, not copied."""
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise ValueError(f"found {self.left} bytes at byte {self._at} of a node, expected {count}")
        self._at += count
        return taken

    def unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        """The next values, in this form."""
        return form.unpack(self.take(form.size))

    def ref(self) -> BlobRef:
        """The next reference."""
        blob, pack, offset, length, raw_length = self.unpack(_REF)
        return BlobRef(id=blob, pack=pack, offset=offset, length=length, raw_length=raw_length)

    def start(self, node: Node) -> BlobRef | None:
        """What encode_start wrote: None for a whole node of this type, the changed node for changes to one."""
        found = self.take(1)[0]
        if found not in {node, node + 1}:
            raise ValueError(f"found a node of type {found}, expected {node:d} or {node + 1}")
        return None if found == node else self.ref()

    def expect_left(self, count: int) -> None:
        """ValueError unless exactly `count` bytes are left."""
        if self.left != count:
            raise ValueError(f"found {self.left} bytes after byte {self._at} of a node, expected {count}")
