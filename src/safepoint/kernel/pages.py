"""The functions, their arguments checked, and which implementation carries them out."""

from __future__ import annotations

import numpy as np

from safepoint.kernel import compiled, plain
from safepoint.kernel.commits import Buffer
from safepoint.kernel.shapes import FINGERPRINT_KEY_BYTES, PAGE_BYTES, Bytes, Checksums, Fingerprints

_BLOCK_NUMBERS = 1 << 32
_CRCS = 1 << 32
_LONGEST = 1 << 63

_compiled = compiled.load()
_functions = _compiled or plain.FUNCTIONS

IS_COMPILED = _compiled is not None
"""Whether the compiled library does the work; the results are the same without it."""


def page_checksums(buffer: Buffer, first_block: int) -> Checksums:
    """The checksum that each page of `buffer` should hold, as PostgreSQL computes it: 1 to 65,535, never 0.

    Block numbers count up from `first_block` and are those of the whole relation fork, across its segments. Pages are
    those of a little-endian server. ValueError when `buffer` is no whole number of pages or a block number needs more
    than 32 bits. Source: PostgreSQL 18, src/include/storage/checksum_impl.h (unchanged since 9.3).
    """
    view = _bytes_of(buffer)
    count, rest = divmod(len(view), PAGE_BYTES)
    if rest:
        raise ValueError(f"found {len(view)} bytes, expected a multiple of {PAGE_BYTES}")
    if first_block < 0 or first_block + count > _BLOCK_NUMBERS:
        raise ValueError(f"found {count} blocks from {first_block}, expected numbers of 0 to {_BLOCK_NUMBERS - 1}")
    return _functions.checksums(view, first_block)


def page_fingerprints(buffer: Buffer, keys: Buffer) -> Fingerprints:
    """A 64-bit fingerprint of each page of `buffer`; a short last page counts as filled up with zeros.

    With secret random keys two given different pages collide with probability 2^-64: two rows of strongly universal
    multilinear hashing over a page's 2,048 little-endian words. `keys` are FINGERPRINT_KEY_BYTES: row 0, then row 1,
    each 2,049 little-endian words of 64 bits. ValueError for another length.
    Source: Lemire and Kaser, "Strongly universal string hashing is fast", 2014 (MULTILINEAR).
    """
    key_bytes = _bytes_of(keys)
    if len(key_bytes) != FINGERPRINT_KEY_BYTES:
        raise ValueError(f"found {len(key_bytes)} bytes of keys, expected {FINGERPRINT_KEY_BYTES}")
    return _functions.fingerprints(_bytes_of(buffer), key_bytes)


def crc32c(buffer: Buffer, value: int = 0) -> int:
    """The CRC32C of bytes of which `value` is the CRC32C, followed by those of `buffer`; 0 is that of no bytes.

    ValueError unless `value` fits 32 bits. Source: RFC 3720, appendix B.4; PostgreSQL 18, src/include/port/pg_crc32c.h.
    """
    _require_crc(value)
    return _functions.crc32c(_bytes_of(buffer), value)


def crc32c_combine(first: int, second: int, second_length: int) -> int:
    """The CRC32C of bytes and others behind them, from that of each and how many the others are.

    Costs a microsecond or so, whatever the length. ValueError unless both fit 32 bits and the length 63.
    """
    _require_crc(first)
    _require_crc(second)
    if not 0 <= second_length < _LONGEST:
        raise ValueError(f"found a length of {second_length} bytes, expected 0 to {_LONGEST - 1}")
    return _functions.crc32c_combine(first, second, second_length)


def _require_crc(value: int) -> None:
    if not 0 <= value < _CRCS:
        raise ValueError(f"found CRC32C {value}, expected 0 to {_CRCS - 1}")


def _bytes_of(buffer: Buffer) -> Bytes:
    return np.frombuffer(buffer, np.uint8)
