"""How pieces of objects are sealed: derived keys, positions as nonces, and what is authenticated beside the data.

Every object has a random salt that ends with the generation of the master its key is derived from, so that the name
of a pack alone tells how to open it. The nonce of a piece is its position in the object: unique under that key,
because objects are written once. Beside the piece, the seal covers the format version, the repository, the kind, the
piece's identity, its raw length and how it was compressed. Without encryption the framing is the same and a keyed
BLAKE3 checksum takes the place of the authenticated encryption: it finds accidents, not attackers. docs/FORMAT.md is
the specification.
"""

from __future__ import annotations

import secrets
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol, cast

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from io import RawIOBase

FORMAT_VERSION = 1
FIRST_GENERATION = 1
SALT_BYTES = 32
ID_BYTES = 32
TAG_BYTES = 16
OVERHEAD = 1 + TAG_BYTES
_MAGIC = b"safepnt\n"
_HEADER = struct.Struct(">8sHHI32s")  # the four bytes before the salt are zero
HEADER_BYTES = _HEADER.size
_AAD = struct.Struct(">9sHH16s32sQB")
_GENERATION = struct.Struct(">H")
DEFAULT_LEVEL = 1


class Kind(IntEnum):
    """What an object, or a part of a pack, is."""

    PACK = 1
    TABLE = 2
    MANIFEST = 3
    WAL = 4
    HISTORY = 5
    RECORD = 6
    INDEX = 7
    LEASE = 8
    END = 9
    TOMBSTONE = 10
    JOURNAL = 11


class Codec(IntEnum):
    """How a piece was compressed; the first byte of its sealed form."""

    RAW = 0
    ZSTD = 1


class BrokenSeal(Exception):
    """The bytes are not what was sealed; the caller knows of which object and raises RP005."""


class Seal(Protocol):
    """Seals and opens bytes under the key of one object."""

    def close(self, nonce: bytes, payload: bytes, beside: bytes) -> bytes:
        """The payload made tamper-evident: TAG_BYTES longer."""
        ...

    def open(self, nonce: bytes, sealed: bytes | memoryview, beside: bytes) -> bytes:
        """The payload; BrokenSeal."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Keyring:
    """The keys of one repository. `family` is what seals call the repository: its id, or that of its siblings.

    `repository` is its own id: what decides about backups and packs says whose it is (`objects.seal_own`).

    `masters` are the master keys by generation: the newest seals, each opens what it sealed, and the first names
    things (blobs, WAL, histories), so that a rotation changes no name.
    """

    family: bytes
    masters: Mapping[int, bytes]
    is_encrypted: bool
    repository: bytes = bytes(16)

    @property
    def generation(self) -> int:
        """The generation that seals."""
        return max(self.masters)

    def derive(self, purpose: str, salt: bytes | None = None, *, generation: int = FIRST_GENERATION) -> bytes:
        """32 bytes for one purpose."""
        info = f"safepoint 1 {purpose}".encode()
        return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(self.masters[generation])

    def new_salt(self, tag: bytes = b"") -> bytes:
        """A random salt of the newest generation; `tag` stands before the generation."""
        end = tag + _GENERATION.pack(self.generation)
        return secrets.token_bytes(SALT_BYTES - len(end)) + end

    def seal_for(self, kind: Kind, salt: bytes) -> PieceSeal:
        """The seal of the object of this kind that has this salt; BrokenSeal when no key of its generation is here."""
        generation = generation_of(salt)
        if generation not in self.masters:
            raise BrokenSeal
        key = self.derive(f"object {kind.name.lower()}", salt, generation=generation)
        return PieceSeal(_AesSeal(key) if self.is_encrypted else _ChecksumSeal(key), self.family, kind)


def generation_of(salt: bytes) -> int:
    """Which master seals the object that has this salt."""
    return _GENERATION.unpack(salt[-_GENERATION.size :])[0]


@dataclass(frozen=True, slots=True, repr=False)
class PieceSeal:
    """Seals the pieces of one object."""

    _seal: Seal
    _family: bytes
    _kind: Kind

    def close(
        self,
        position: int,
        identity: bytes,
        raw_length: int,
        codec: Codec,
        payload: bytes,
        *,
        kind: Kind | None = None,
    ) -> tuple[bytes, bytes]:
        """The piece to be written at `position`, in two parts: OVERHEAD bytes longer than the payload."""
        beside = self._beside(identity, raw_length, codec, kind)
        return bytes([codec]), self._seal.close(_nonce(position), payload, beside)

    def open(
        self,
        position: int,
        identity: bytes,
        raw_length: int,
        piece: bytes | memoryview,
        *,
        kind: Kind | None = None,
    ) -> bytes:
        """The raw data of the piece that was read at `position`; BrokenSeal."""
        codec, payload = self._unseal(position, identity, raw_length, piece, kind)
        return decompress(codec, payload, raw_length)

    def open_into(self, position: int, identity: bytes, piece: bytes | memoryview, into: memoryview) -> None:
        """As `open`, but fills `into`, which is as long as the raw data; BrokenSeal, then anything may stand there."""
        codec, payload = self._unseal(position, identity, len(into), piece, self._kind)
        decompress_into(codec, payload, into)

    def _unseal(
        self, position: int, identity: bytes, raw_length: int, piece: bytes | memoryview, kind: Kind | None
    ) -> tuple[int, bytes]:
        """How the piece was compressed, and what is compressed."""
        if len(piece) < OVERHEAD or piece[0] > Codec.ZSTD:
            raise BrokenSeal
        codec = piece[0]
        beside = self._beside(identity, raw_length, codec, kind)
        return codec, self._seal.open(_nonce(position), memoryview(piece)[1:], beside)

    def _beside(self, identity: bytes, raw_length: int, codec: int, kind: Kind | None) -> bytes:
        part = self._kind if kind is None else kind
        return _AAD.pack(b"safepoint", FORMAT_VERSION, part, self._family, identity, raw_length, codec)


class _AesSeal:
    """AES-256-GCM."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, nonce: bytes, payload: bytes, beside: bytes) -> bytes:
        return self._cipher.encrypt(nonce, payload, beside)

    def open(self, nonce: bytes, sealed: bytes | memoryview, beside: bytes) -> bytes:
        try:
            return self._cipher.decrypt(nonce, sealed, beside)
        except InvalidTag:
            raise BrokenSeal from None


class _ChecksumSeal:
    """The payload in the clear, and a keyed BLAKE3 of everything."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def close(self, nonce: bytes, payload: bytes, beside: bytes) -> bytes:
        return payload + self._tag(nonce, payload, beside)

    def open(self, nonce: bytes, sealed: bytes | memoryview, beside: bytes) -> bytes:
        payload, tag = bytes(sealed[:-TAG_BYTES]), bytes(sealed[-TAG_BYTES:])
        if self._tag(nonce, payload, beside) != tag:
            raise BrokenSeal
        return payload

    def _tag(self, nonce: bytes, payload: bytes, beside: bytes) -> bytes:
        return blake3(nonce + beside, key=self._key).update(payload).digest(length=TAG_BYTES)


def header(kind: Kind, salt: bytes) -> bytes:
    """The first HEADER_BYTES of every object."""
    return _HEADER.pack(_MAGIC, FORMAT_VERSION, kind, 0, salt)


def read_header(data: bytes, kind: Kind) -> bytes:
    """The salt of an object that begins with `data`; BrokenSeal unless it is of this kind and version."""
    if len(data) < HEADER_BYTES:
        raise BrokenSeal
    salt = data[HEADER_BYTES - SALT_BYTES : HEADER_BYTES]
    if data[:HEADER_BYTES] != header(kind, salt):
        raise BrokenSeal
    return salt


_OF_WAL = zstandard.ZstdCompressionParameters(compression_level=1, window_log=19, hash_log=13, min_match=5)
"""Level 1 with tables that stay in the nearest caches: somewhat quicker, and 1 to 8 % smaller.

Literals as they are (target_length=1) would save as much time again, and make WAL of random text 20 % larger.
"""


class _Compressors(threading.local):
    """zstd contexts serve one thread at a time."""

    def __init__(self) -> None:
        self.by_level: dict[int, zstandard.ZstdCompressor] = {}
        self.of_wal = zstandard.ZstdCompressor(compression_params=_OF_WAL)
        self.decompressor = zstandard.ZstdDecompressor()

    def at(self, level: int) -> zstandard.ZstdCompressor:
        if level not in self.by_level:
            self.by_level[level] = zstandard.ZstdCompressor(level=level)
        return self.by_level[level]


_COMPRESSORS = _Compressors()


def compress(raw: bytes | memoryview, level: int = DEFAULT_LEVEL) -> tuple[Codec, bytes]:
    """zstd, or the data as it is where zstd does not make it smaller. Releases the interpreter's lock."""
    return _smaller(_COMPRESSORS.at(level).compress(raw), raw)


def compress_wal(raw: bytes | memoryview) -> tuple[Codec, bytes]:
    """As `compress`, of WAL."""
    return _smaller(_COMPRESSORS.of_wal.compress(raw), raw)


def _smaller(packed: bytes, raw: bytes | memoryview) -> tuple[Codec, bytes]:
    return (Codec.ZSTD, packed) if len(packed) < len(raw) else (Codec.RAW, bytes(raw))


def decompress(codec: int, payload: bytes, raw_length: int) -> bytes:
    """Exactly `raw_length` bytes; BrokenSeal."""
    if codec == Codec.RAW and len(payload) == raw_length:
        return payload
    _require_length(codec, payload, raw_length)
    try:
        raw = _COMPRESSORS.decompressor.decompress(payload)
    except zstandard.ZstdError:
        raise BrokenSeal from None
    if len(raw) != raw_length:
        raise BrokenSeal
    return raw


def decompress_into(codec: int, payload: bytes, into: memoryview) -> None:
    """Exactly as many bytes as `into` has room for are there; BrokenSeal."""
    if codec == Codec.RAW and len(payload) == len(into):
        into[:] = payload
        return
    _require_length(codec, payload, len(into))
    try:
        # Into enough room zstd decodes in one go, without a buffer of its own.
        count = cast("RawIOBase", _COMPRESSORS.decompressor.stream_reader(payload)).readinto(into)
    except zstandard.ZstdError:
        raise BrokenSeal from None
    if count != len(into):
        raise BrokenSeal


def _require_length(codec: int, payload: bytes, raw_length: int) -> None:
    """Before any memory is taken for it: the payload is compressed, and says that it is of this length."""
    try:
        found = zstandard.frame_content_size(payload)
    except zstandard.ZstdError:
        raise BrokenSeal from None
    if codec != Codec.ZSTD or found != raw_length:
        raise BrokenSeal


def _nonce(position: int) -> bytes:
    return position.to_bytes(12, "big")
