"""The file of the index cache: rows sorted by the first eight bytes of their blob ids, and how one row is found.

    header     160 bytes: magic, version, byte order, binding, counts, length and digest of the tail, digest of all that
    rows       48 bytes each: blob id, number of the pack, offset, length, raw length
    tail:
    fan-out    per value of an id's first `bits` bits: which row is the first of that slot (u32), and the row count
    digests    16 bytes per segment (64 slots, about 60 KiB of rows)
    packs      36 bytes each: pack id, number of the index object that listed it
    indexes    JSON: name and facts of each index object whose rows are here

Numbers are in the machine's byte order: the file never leaves it. It is local, disposable and not trusted: its digests
are keyed with a key of the repository and bound to repository and cluster. Opening checks everything but the rows (one
digest over header and tail, some milliseconds for 40 million blobs); a segment of rows is checked when it is first
touched. A digest of the whole file at each open would read gigabytes to look up one blob.

Rows are read with pread, not mapped: they then lie in the page cache, which the kernel takes back when it must, and
never count as this process's memory. A mapped file reads 0.2 µs faster, and its resident pages grow to its full size.
Look-ups may run in any number of threads and, each with a file of its own, processes.
"""

from __future__ import annotations

import json
import os
import struct
import weakref
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from safepoint.model.backup import BlobRef
from safepoint.repository.sealing.seal import ID_BYTES

ROW = np.dtype([("id", "V32"), ("pack", "=u4"), ("offset", "=u4"), ("length", "=u4"), ("raw_length", "=u4")])
PACK = np.dtype([("id", "V32"), ("source", "=u4")])
Rows: TypeAlias = NDArray[Any]
Packs: TypeAlias = NDArray[Any]
BUCKETS = 256
_ROW_BYTES = ROW.itemsize
_KEYED = np.dtype([("prefix", ">u8"), ("rest", "V40")])
_LOCATION = struct.Struct("=IIII")
_HEADER = struct.Struct(
    "=8sII32sQIIQ32s"
)  # magic, version, byte order, binding, rows, bits, packs, tail and its digest
_HEADER_BYTES = 160
_MAGIC, _VERSION, _BYTE_ORDER = b"sfpt-idx", 1, 0x01020304
_DIGEST_BYTES = 16
_MAC_BYTES = 32
_SEGMENT_BITS = 6
_FEWEST_BITS, _MOST_BITS = 8 + _SEGMENT_BITS, 24
_ROWS_PER_SLOT = 24
_FAN_OUT_BYTES = 4
_PREFIX_BITS = 64
_SLOT_BYTES = 4


class DamagedCache(Exception):
    """The file is not what was written for this repository and cluster; it is to be made anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Which repository and cluster a file belongs to, and the key of its digests."""

    digest: bytes
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tail:
    """What a file knows beside its rows: packs, each with the number of its index, and the indexes as JSON values."""

    packs: Packs
    indexes: list[Any]


def prefixes_of(rows: Rows) -> NDArray[np.uint64]:
    """The first eight bytes of each row's id, as a number."""
    return rows.view(_KEYED)["prefix"].astype(np.uint64)


def bits_for(rows: int) -> int:
    """Of the fan-out: about two dozen rows, one KiB, to a slot."""
    return min(max((rows // _ROWS_PER_SLOT).bit_length(), _FEWEST_BITS), _MOST_BITS)


class CacheFile:
    """An open file. It is closed when nobody refers to it any more, so that a look-up in another thread can end."""

    def __init__(self, descriptor: int, binding: Binding) -> None:
        """Takes the descriptor over; DamagedCache, also for a file of another repository, cluster, key or version."""
        self._close = weakref.finalize(self, os.close, descriptor)
        self._descriptor = descriptor
        self._key = binding.key
        header, tail = self._read_checked(binding)
        _, _, _, _, self.row_count, bits, packs, _, _ = header
        slots, segments = 1 << bits, 1 << (bits - _SEGMENT_BITS)
        fan_out_bytes, digest_bytes = (slots + 1) * _FAN_OUT_BYTES, segments * _DIGEST_BYTES
        self.bits = bits
        self._shift: int = _SLOT_BYTES * 8 - bits
        self._fan_out: memoryview[int] = memoryview(tail)[:fan_out_bytes].cast("I")
        self._digests = tail[fan_out_bytes:][:digest_bytes]
        packs_at = fan_out_bytes + digest_bytes
        names_at = packs_at + packs * PACK.itemsize
        self.tail = Tail(packs=np.frombuffer(tail, PACK, packs, packs_at), indexes=json.loads(tail[names_at:]))
        self._packs: list[bytes] = [pack.tobytes() for pack in self.tail.packs["id"]]
        self._is_checked = bytearray(segments)

    def __repr__(self) -> str:
        return f"CacheFile({self.row_count} rows)"

    @property
    def identity(self) -> tuple[int, int, int]:
        """Device, inode, and when it was written: an inode may be another file's before."""
        found = os.fstat(self._descriptor)
        return found.st_dev, found.st_ino, found.st_mtime_ns

    def lookup_all(self, identity: bytes) -> tuple[BlobRef, ...]:
        """Every known place of the blob, each once; ValueError unless the id is 32 bytes, DamagedCache."""
        rows = self._slot_of(identity)
        refs: dict[BlobRef, None] = {}
        at = _find_aligned(rows, identity, 0)
        while at >= 0:
            refs[self._ref_at(identity, rows, at)] = None
            at = _find_aligned(rows, identity, at + _ROW_BYTES)
        return tuple(refs)

    def read_bucket(self, bucket: int) -> Rows:
        """The rows whose ids begin with this byte, checked again, as they will be signed anew; DamagedCache."""
        width = self.bits - 8
        segments = slice(bucket << width >> _SEGMENT_BITS, (bucket + 1) << width >> _SEGMENT_BITS)
        self._is_checked[segments] = bytes(segments.stop - segments.start)
        return self._read_slots(bucket << width, (bucket + 1) << width)

    def _slot_of(self, identity: bytes) -> bytes:
        if len(identity) != ID_BYTES:
            raise ValueError(f"found an id of {len(identity)} bytes, expected {ID_BYTES}")
        slot = int.from_bytes(identity[:_SLOT_BYTES], "big") >> self._shift
        if not self._is_checked[slot >> _SEGMENT_BITS]:
            self._read_segment(slot >> _SEGMENT_BITS)
        start = self._fan_out[slot]
        return self._read_rows(start, self._fan_out[slot + 1])

    def _read_slots(self, first: int, end: int) -> Rows:
        """The rows of whole segments; DamagedCache."""
        segments = range(first >> _SEGMENT_BITS, end >> _SEGMENT_BITS)
        return np.frombuffer(b"".join(map(self._read_segment, segments)), ROW)

    def _read_segment(self, segment: int) -> bytes:
        first = segment << _SEGMENT_BITS
        rows = self._read_rows(self._fan_out[first], self._fan_out[first + (1 << _SEGMENT_BITS)])
        if not self._is_checked[segment]:
            digest = blake3(rows, key=self._key).digest(length=_DIGEST_BYTES)
            if digest != self._digests[segment * _DIGEST_BYTES :][:_DIGEST_BYTES]:
                raise DamagedCache
            self._is_checked[segment] = 1
        return rows

    def _read_rows(self, start: int, end: int) -> bytes:
        length = (end - start) * _ROW_BYTES
        rows = os.pread(self._descriptor, length, _HEADER_BYTES + start * _ROW_BYTES)
        if len(rows) != length:
            raise DamagedCache
        return rows

    def _ref_at(self, identity: bytes, rows: bytes, at: int) -> BlobRef:
        place: tuple[int, int, int, int] = _LOCATION.unpack_from(rows, at + ID_BYTES)
        pack, offset, length, raw_length = place
        return BlobRef(id=identity, pack=self._packs[pack], offset=offset, length=length, raw_length=raw_length)

    def _read_checked(self, binding: Binding) -> tuple[tuple[Any, ...], bytes]:
        """The header's numbers, and everything behind the rows; DamagedCache unless their digest holds."""
        raw = os.pread(self._descriptor, _HEADER_BYTES, 0)
        if len(raw) != _HEADER_BYTES:
            raise DamagedCache
        header = _HEADER.unpack_from(raw)
        if header[:4] != (_MAGIC, _VERSION, _BYTE_ORDER, binding.digest):
            raise DamagedCache
        if _digest(binding.key, raw[: _HEADER.size]) != raw[_HEADER.size :][:_MAC_BYTES]:
            raise DamagedCache
        tail = os.pread(self._descriptor, header[7], _HEADER_BYTES + header[4] * _ROW_BYTES)
        if _digest(binding.key, tail) != header[8]:
            raise DamagedCache
        return header, tail


class CacheFileWriter:
    """Writes a file bucket by bucket; it is a cache file only once `finish` has returned.

    Nothing is synced: what a power cut leaves fails a digest, and the cache is made anew.
    """

    def __init__(self, descriptor: int, binding: Binding, *, at_most: int) -> None:
        """An empty file, open for writing; `at_most` as many rows will come."""
        self._descriptor = descriptor
        self._binding = binding
        self._bits = bits_for(at_most)
        self._row_count = 0
        self._fan_out = np.zeros((1 << self._bits) + 1, np.uint32)
        self._digests = bytearray()

    def append(self, bucket: int, rows: Rows) -> None:
        """The rows of the next bucket, sorted by prefix. Buckets come from 0 to BUCKETS - 1, each once."""
        width = self._bits - 8
        first = bucket << width
        slots = (prefixes_of(rows) >> np.uint64(_PREFIX_BITS - self._bits)).astype(np.int64) - first
        ends = self._row_count + np.cumsum(np.bincount(slots, minlength=1 << width))
        self._fan_out[first + 1 : first + (1 << width) + 1] = ends
        data = rows.tobytes()
        start = self._row_count
        for end in ends[(1 << _SEGMENT_BITS) - 1 :: 1 << _SEGMENT_BITS].tolist():
            segment = memoryview(data)[(start - self._row_count) * _ROW_BYTES : (end - self._row_count) * _ROW_BYTES]
            self._digests += blake3(segment, key=self._binding.key).digest(length=_DIGEST_BYTES)
            start = end
        write_at(self._descriptor, data, _HEADER_BYTES + self._row_count * _ROW_BYTES)
        self._row_count += len(rows)

    def finish(self, tail: Tail) -> None:
        """The file is whole."""
        names = json.dumps(tail.indexes, separators=(",", ":")).encode()
        data = b"".join((self._fan_out.tobytes(), self._digests, tail.packs.tobytes(), names))
        header = _HEADER.pack(
            *(_MAGIC, _VERSION, _BYTE_ORDER, self._binding.digest),
            *(self._row_count, self._bits, len(tail.packs), len(data), _digest(self._binding.key, data)),
        )
        write_at(self._descriptor, data, _HEADER_BYTES + self._row_count * _ROW_BYTES)
        signed = header + _digest(self._binding.key, header)
        write_at(self._descriptor, signed.ljust(_HEADER_BYTES, b"\0"), 0)


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Every byte is handed to the kernel; OSError."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def _digest(key: bytes, data: bytes) -> bytes:
    return blake3(data, key=key).digest(length=_MAC_BYTES)


def _find_aligned(rows: bytes, identity: bytes, start: int) -> int:
    """Where a row with this id begins, at or behind `start`; -1."""
    at = rows.find(identity, start)
    while at >= 0 and at % _ROW_BYTES:
        at = rows.find(identity, at + 1)
    return at
