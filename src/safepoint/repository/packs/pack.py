"""Packs: many sealed blobs in one object, and a sealed table of contents at its end.

header (48 bytes); the salt is the pack's id, so that a blob can be opened knowing its pack's name alone
blobs, each sealed, without gaps
table, sealed: per blob id (32 bytes), sealed length (u32), raw length (u32)
u32 number of blobs, u32 sealed length of the table
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from blake3 import blake3

from safepoint import errors
from safepoint.model.backup import BlobRef
from safepoint.repository.sealing import objects
from safepoint.repository.sealing.seal import (
    HEADER_BYTES,
    OVERHEAD,
    BrokenSeal,
    Codec,
    Keyring,
    Kind,
    PieceSeal,
    header,
    read_header,
)
from safepoint.stores.port import Store

_ENTRY = struct.Struct(">32sII")
_TRAILER = struct.Struct(">II")


def pack_name(pack: str) -> str:
    """The object's name; 256 folders keep each of them small."""
    return f"packs/{pack[:2]}/{pack}"


def blob_id(id_key: bytes, raw: bytes) -> bytes:
    """What the blob is called: keyed, so that nobody without the key can tell whether known data is stored."""
    return blake3(raw, key=id_key).digest()


class PackBuilder:
    """A pack being filled, in memory."""

    def __init__(self, keyring: Keyring) -> None:
        salt = keyring.new_salt()
        self.id = salt.hex()
        self._seal = keyring.seal_for(Kind.PACK, salt)
        self._parts = [header(Kind.PACK, salt)]
        self._length = HEADER_BYTES
        self._table = bytearray()
        self._count = 0

    def __len__(self) -> int:
        return self._length

    def append(self, identity: bytes, raw_length: int, codec: Codec, payload: bytes) -> BlobRef:
        """Seals the blob behind those before it."""
        offset = self._length
        parts = self._seal.close(offset, identity, raw_length, codec, payload)
        length = sum(map(len, parts))
        self._parts += parts
        self._length += length
        self._table += _ENTRY.pack(identity, length, raw_length)
        self._count += 1
        return BlobRef(id=identity.hex(), pack=self.id, offset=offset, length=length, raw_length=raw_length)

    def finish(self) -> bytes:
        """The whole pack; the builder is used up."""
        table = self._seal.close(
            self._length, bytes.fromhex(self.id), len(self._table), Codec.RAW, bytes(self._table), kind=Kind.TABLE
        )
        return b"".join((*self._parts, *table, _TRAILER.pack(self._count, sum(map(len, table)))))


@dataclass(frozen=True, slots=True, repr=False)
class PackOpener:
    """Opens the blobs of one pack."""

    pack: str
    _seal: PieceSeal
    _id_key: bytes

    def open(self, ref: BlobRef, piece: bytes | memoryview) -> bytes:
        """The raw data of the blob whose sealed bytes are `piece`; RP005."""
        identity = bytes.fromhex(ref.id)
        try:
            raw = self._seal.open(ref.offset, identity, ref.raw_length, piece)
        except BrokenSeal:
            raise _broken_blob(ref, len(piece)) from None
        if blob_id(self._id_key, raw) != identity:
            raise _broken_blob(ref, len(piece))
        return raw


def open_pack(keyring: Keyring, id_key: bytes, pack: str) -> PackOpener:
    """An opener for the blobs of `pack`."""
    return PackOpener(pack, keyring.seal_for(Kind.PACK, bytes.fromhex(pack)), id_key)


def check_pack(store: Store, keyring: Keyring, id_key: bytes, pack: str) -> tuple[BlobRef, ...]:
    """Its blobs, after every byte of the object has been checked; RP004, RP005."""
    name = pack_name(pack)
    data = objects.fetch(store, name)
    opener = open_pack(keyring, id_key, pack)
    try:
        refs = _read_table(keyring, pack, data)
    except BrokenSeal:
        raise objects.broken(name, Kind.PACK, len(data)) from None
    view = memoryview(data)
    for ref in refs:
        opener.open(ref, view[ref.offset : ref.offset + ref.length])
    return refs


def _read_table(keyring: Keyring, pack: str, data: bytes) -> tuple[BlobRef, ...]:
    salt = read_header(data, Kind.PACK)
    if salt.hex() != pack or len(data) < HEADER_BYTES + OVERHEAD + _TRAILER.size:
        raise BrokenSeal
    count, sealed_length = _TRAILER.unpack(data[-_TRAILER.size :])
    raw_length = count * _ENTRY.size
    table_at = len(data) - _TRAILER.size - sealed_length
    if sealed_length != raw_length + OVERHEAD or table_at < HEADER_BYTES:
        raise BrokenSeal
    sealed = data[table_at : table_at + sealed_length]
    table = keyring.seal_for(Kind.PACK, salt).open(table_at, salt, raw_length, sealed, kind=Kind.TABLE)
    return _refs_of(pack, table, table_at)


def _refs_of(pack: str, table: bytes, table_at: int) -> tuple[BlobRef, ...]:
    refs: list[BlobRef] = []
    offset = HEADER_BYTES
    for identity, length, raw_length in _ENTRY.iter_unpack(table):
        refs.append(BlobRef(id=identity.hex(), pack=pack, offset=offset, length=length, raw_length=raw_length))
        offset += length
    if offset != table_at:
        raise BrokenSeal
    return tuple(refs)


def _broken_blob(ref: BlobRef, found: int) -> errors.SafepointError:
    where = f"{pack_name(ref.pack)} at {ref.offset}"
    return errors.RP005.error(
        f"found {found} bytes in {where} that do not open, expected blob {ref.id[:16]} sealed in {ref.length} bytes",
        hints=[
            errors.ask("has the disk lost or changed bits, or was the pack cut short, renamed or replaced?"),
            errors.run("fetch the pack from another copy of this repository under the same name"),
        ],
    )
