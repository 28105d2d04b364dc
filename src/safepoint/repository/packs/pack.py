"""Packs: many sealed blobs of one kind in one object, and a sealed table of contents at its end.

header (48 bytes); the salt is the pack's id, so that a blob can be opened knowing its pack's name alone
blobs, each a sealed piece, without gaps
table, sealed: per blob id (32 bytes), stored length (u32), raw length (u32), kind (u8: 0 data, 1 node)
u32 number of blobs, u32 stored length of the table
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from safepoint import errors
from safepoint.buffers import Buffers
from safepoint.model.backup import BlobRef
from safepoint.repository.names import pack_name
from safepoint.repository.sealing import objects
from safepoint.repository.sealing.keys import require_generation
from safepoint.repository.sealing.seal import (
    HEADER_BYTES,
    OVERHEAD,
    BrokenSeal,
    Codec,
    Keyring,
    Kind,
    PieceSeal,
    generation_of,
    header,
    read_header,
)
from safepoint.stores.port import NotFound, Store

ENTRY = np.dtype([("id", "V32"), ("offset", ">u4"), ("length", ">u4"), ("raw_length", ">u4"), ("kind", "u1")])
"""A blob of a pack, packed into 45 bytes: as an index lists it."""
_ENTRY = struct.Struct(">32sIIIB")
_STORED = np.dtype([("id", "V32"), ("length", ">u4"), ("raw_length", ">u4"), ("kind", "u1")])
_KEPT = ["id", "length", "raw_length", "kind"]
_TRAILER = struct.Struct(">II")
TRAILER_BYTES = _TRAILER.size
LARGEST_BLOB = 32 * 1024 * 1024
"""Bytes of raw data."""

_TAIL_BYTES = 64 * 1024
_LARGEST_OFFSET = (1 << 32) - 1


class BlobKind(IntEnum):
    """What a blob holds. A pack holds one kind, so that maps can be fetched without the data."""

    DATA = 0
    NODE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PackContents:
    """What a pack holds: its id, and `ENTRY` after `ENTRY` in the order of their offsets, as bytes."""

    pack: bytes
    table: bytes

    def __len__(self) -> int:
        return len(self.table) // ENTRY.itemsize

    @property
    def entries(self) -> NDArray[Any]:
        """The table as a read-only array of `ENTRY`; no copy."""
        return np.frombuffer(self.table, ENTRY)

    @property
    def end(self) -> int:
        """Where the last blob ends, and the sealed table begins."""
        entries = self.entries
        return int(entries["offset"][-1]) + int(entries["length"][-1]) if len(entries) else HEADER_BYTES

    @property
    def stored_table(self) -> bytes:
        """The table as the pack has it, unsealed."""
        return self.entries[_KEPT].astype(_STORED).tobytes()

    @property
    def stored_bytes(self) -> int:
        """How long the whole pack is."""
        return self.end + len(self) * _STORED.itemsize + OVERHEAD + TRAILER_BYTES

    def refs(self) -> Iterator[BlobRef]:
        """Where each blob lies."""
        for identity, offset, length, raw_length, _ in _ENTRY.iter_unpack(self.table):
            yield BlobRef(id=identity, pack=self.pack, offset=offset, length=length, raw_length=raw_length)


def blob_id_key(keyring: Keyring) -> bytes:
    """The key of `blob_id`; the same for ever, also after the master was rotated."""
    return keyring.derive("blob id")


def blob_id(id_key: bytes, raw: bytes | memoryview) -> bytes:
    """What the blob is called: keyed, so that nobody without the key can tell whether known data is stored."""
    return blake3(raw, key=id_key).digest()


def pack_buffers(pack_bytes: int) -> Buffers:
    """Memory for packs that take no more blobs once they are as long as `pack_bytes`, tables included."""
    return Buffers(pack_bytes + LARGEST_BLOB + OVERHEAD + _STORED.itemsize + OVERHEAD + _TRAILER.size)


class PackBuilder:
    """A pack being filled, in memory. One thread at a time."""

    def __init__(self, keyring: Keyring, kind: BlobKind, buffers: Buffers, tag: bytes = b"") -> None:
        self.id = keyring.new_salt(tag)
        self._kind = kind
        self._seal = keyring.seal_for(Kind.PACK, self.id)
        self._buffers = buffers
        self._buffer = buffers.take()
        self._buffer.write(header(Kind.PACK, self.id))
        self._table = bytearray()

    def __len__(self) -> int:
        """Bytes of the pack if it were finished now, or a few more."""
        return self._buffer.tell() + len(self._table)

    def append(self, identity: bytes, raw_length: int, codec: Codec, payload: bytes) -> BlobRef:
        """Seals the blob, compressed to `payload`, behind those before it."""
        offset = self._buffer.tell()
        for part in self._seal.close(offset, identity, raw_length, codec, payload):
            self._buffer.write(part)
        length = self._buffer.tell() - offset
        self._table += _ENTRY.pack(identity, offset, length, raw_length, self._kind)
        return BlobRef(id=identity, pack=self.id, offset=offset, length=length, raw_length=raw_length)

    def contents(self) -> PackContents:
        """What is in it so far."""
        return PackContents(pack=self.id, table=bytes(self._table))

    def finish(self) -> memoryview:
        """The whole pack, in place: nothing more is appended, and it is good until `release`."""
        stored = self.contents().stored_table
        table = self._seal.close(self._buffer.tell(), self.id, len(stored), Codec.RAW, stored, kind=Kind.TABLE)
        trailer = _TRAILER.pack(len(self._table) // ENTRY.itemsize, len(stored) + OVERHEAD)
        for part in (*table, trailer):
            self._buffer.write(part)
        return memoryview(self._buffer)[: self._buffer.tell()]

    def release(self) -> None:
        """Its memory serves another pack; this one is not used any more."""
        self._buffers.give_back(self._buffer)


@dataclass(frozen=True, slots=True)
class PackOpener:
    """Opens the blobs of one pack."""

    seal: PieceSeal
    _id_key: bytes

    def open(self, ref: BlobRef, stored: memoryview) -> bytes:
        """The raw data of the blob whose stored bytes are `stored`; BrokenSeal."""
        if len(stored) != ref.length or ref.raw_length > LARGEST_BLOB:
            raise BrokenSeal
        raw = self.seal.open(ref.offset, ref.id, ref.raw_length, stored)
        if blob_id(self._id_key, raw) != ref.id:
            raise BrokenSeal
        return raw

    def open_into(self, ref: BlobRef, stored: memoryview, into: memoryview) -> None:
        """As `open`; the raw data is in `into`, which is as long as the blob."""
        if len(stored) != ref.length or len(into) != ref.raw_length:
            raise BrokenSeal
        self.seal.open_into(ref.offset, ref.id, stored, into)
        if blob_id(self._id_key, into) != ref.id:
            raise BrokenSeal


def open_pack(keyring: Keyring, id_key: bytes, pack: bytes) -> PackOpener:
    """An opener for the blobs of `pack`; RP008 when the key of its generation is not here, RP005 for a stray."""
    _require_ours(keyring, pack)
    return PackOpener(keyring.seal_for(Kind.PACK, pack), id_key)


def read_table(store: Store, keyring: Keyring, pack: bytes) -> PackContents:
    """What the pack says it holds, from its end alone: its size and one or two range reads; RP004, RP005, RP008."""
    name = pack_name(pack)
    _require_ours(keyring, pack)
    try:
        size = store.size(name)
        if size > objects.largest_object(Kind.PACK):
            raise objects.too_large(name, Kind.PACK, size)
        tail = _fetch_tail(store, name, size)
    except NotFound:
        raise objects.missing(name) from None
    try:
        return _open_table(keyring, pack, size, memoryview(tail))
    except BrokenSeal:
        raise objects.broken(name, Kind.PACK, size) from None


def check_pack(store: Store, keyring: Keyring, pack: bytes) -> PackContents:
    """What the pack holds, after every byte of it, all in memory, was checked; RP004, RP005, RP008."""
    _require_ours(keyring, pack)
    return check_pack_bytes(keyring, pack, objects.fetch(store, pack_name(pack), Kind.PACK))


def check_pack_bytes(keyring: Keyring, pack: bytes, data: bytes) -> PackContents:
    """What a pack of these bytes holds, after every one of them was checked; RP005, RP008."""
    opener = open_pack(keyring, blob_id_key(keyring), pack)
    view = memoryview(data)
    try:
        _require_header(view, pack)
        contents = _open_table(keyring, pack, len(view), view)
    except BrokenSeal:
        raise objects.broken(pack_name(pack), Kind.PACK, len(view)) from None
    for ref in contents.refs():
        _check_blob(opener, ref, view[ref.offset : ref.offset + ref.length])
    return contents


def is_stray(keyring: Keyring, pack: bytes) -> bool:
    """Whether nobody can have put a pack of this id: there is one generation for ever where nothing is encrypted."""
    return not keyring.is_encrypted and generation_of(pack) not in keyring.masters


def stray(pack: bytes) -> errors.SafepointError:
    """RP005 for a pack that is none."""
    name = pack_name(pack)
    return errors.RP005.error(
        f"found {name} in a repository that is not encrypted, expected the names of its packs to end in 0001",
        hints=[
            errors.ask("who else writes there? It is no pack of this repository, and no backup needs it"),
            errors.run("remove it, or let `safepoint repository gc` do so"),
        ],
    )


def _require_ours(keyring: Keyring, pack: bytes) -> None:
    """RP008 when the key of its generation is not here; RP005 when there never was one."""
    if is_stray(keyring, pack):
        raise stray(pack)
    require_generation(keyring, pack, pack_name(pack))


def broken_blob(ref: BlobRef, found: int) -> errors.SafepointError:
    """RP005 for one blob."""
    where = f"{pack_name(ref.pack)} at {ref.offset}"
    return errors.RP005.error(
        f"found {found} bytes in {where} that do not open, expected blob {ref.id.hex()[:16]} sealed in {ref.length}",
        hints=[
            errors.ask("has the disk lost or changed bits, or was the pack cut short, renamed or replaced?"),
            errors.run("fetch the pack from another copy of this repository under the same name"),
        ],
    )


def _check_blob(opener: PackOpener, ref: BlobRef, stored: memoryview) -> None:
    try:
        opener.open(ref, stored)
    except BrokenSeal:
        raise broken_blob(ref, len(stored)) from None


def _require_header(data: memoryview, pack: bytes) -> None:
    if read_header(bytes(data[:HEADER_BYTES]), Kind.PACK) != pack:
        raise BrokenSeal


def _fetch_tail(store: Store, name: str, size: int) -> bytes:
    """The end of the pack, all of its table included if the trailer is true."""
    length = min(size, _TAIL_BYTES)
    tail = store.get_range(name, size - length, length)
    needed = min(size, _table_bytes(tail) + _TRAILER.size)
    return tail if needed <= length else store.get_range(name, size - needed, needed)


def _table_bytes(tail: bytes | memoryview) -> int:
    """The stored bytes of the table of a pack that ends in `tail`; 0 when that cannot be."""
    if len(tail) < _TRAILER.size:
        return 0
    count, sealed_length = _TRAILER.unpack(tail[-_TRAILER.size :])
    return sealed_length if sealed_length == count * _STORED.itemsize + OVERHEAD else 0


def _open_table(keyring: Keyring, pack: bytes, size: int, tail: memoryview) -> PackContents:
    """What the table of a pack of `size` bytes that ends in `tail` lists, without gaps from header to table."""
    length = _table_bytes(tail)
    table_at = size - _TRAILER.size - length
    sealed = tail[len(tail) - _TRAILER.size - length : -_TRAILER.size]
    if not length or not HEADER_BYTES <= table_at <= _LARGEST_OFFSET or len(sealed) != length:
        raise BrokenSeal
    seal = keyring.seal_for(Kind.PACK, pack)
    return _contents_of(pack, seal.open(table_at, pack, length - OVERHEAD, sealed, kind=Kind.TABLE), table_at)


def _contents_of(pack: bytes, table: bytes, table_at: int) -> PackContents:
    stored = np.frombuffer(table, _STORED)
    ends = HEADER_BYTES + np.cumsum(stored["length"], dtype=np.int64)
    if (ends[-1] if len(ends) else HEADER_BYTES) != table_at or (stored["kind"] > max(BlobKind)).any():
        raise BrokenSeal
    entries = np.empty(len(stored), ENTRY)
    entries["offset"] = ends - stored["length"]
    for field in _KEPT:
        entries[field] = stored[field]
    return PackContents(pack=pack, table=entries.tobytes())
