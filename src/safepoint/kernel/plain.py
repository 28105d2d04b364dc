"""All functions in numpy: correct everywhere, slower than `compiled`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from safepoint.kernel.plain_commits import commits
from safepoint.kernel.plain_crc32c import crc32c, crc32c_combine
from safepoint.kernel.shapes import (
    KEYS_PER_ROW,
    PAGE_BYTES,
    PAGE_WORDS,
    Bytes,
    Checksums,
    Fingerprints,
    Functions,
)

_Words = npt.NDArray[np.uint32]

# Measured: more pages a call fall out of the cache, fewer are all overhead.
_PAGES_AT_ONCE = 256

# Where each lane begins: PostgreSQL, src/include/storage/checksum_impl.h. Data, without which no two agree.
_FIRST_SUMS = np.frombuffer(
    bytes.fromhex(
        "5B1F36E9 B8525960 02AB50AA 1DE66D2A 79FF467A 9BB9F8A3 217E7CD2 83E13D2C"
        "F8D4474F E39EB970 42C6AE16 993216FA 7B093B5D 98DAFF3C F718902A 0B1C9CDB"
        "E58F764B 187636BC 5D7B3BB1 E73DE7DE 92BEC979 CCA6C0B2 304A0979 85AA43D4"
        "783125BB 6CA8EAA2 E407EAC6 4B5CFC3E 9FBF8C76 15CA20BE F2CA9FD3 959BD756"
    ),
    ">u4",
).astype(np.uint32)
_LANES = len(_FIRST_SUMS)
_PRIME = np.uint32(16777619)
_SHIFT = np.uint32(17)
_ZERO = np.uint32(0)
_WITHOUT_CHECKSUM = np.uint32(0xFFFF0000)
_CHECKSUMS = np.uint32(65535)
_HALF = np.uint64(32)


def _checksums(pages: Bytes, first_block: int) -> Checksums:
    words = _words(pages)
    result = np.empty(len(words), np.uint16)
    for start in range(0, len(words), _PAGES_AT_ONCE):
        part = words[start : start + _PAGES_AT_ONCE]
        blocks = np.arange(first_block + start, first_block + start + len(part)).astype(np.uint32)
        result[start : start + len(part)] = (_sums(part) ^ blocks) % _CHECKSUMS + np.uint32(1)
    return result


def _sums(words: _Words) -> _Words:
    """The unreduced sum of each page, without its block number: 32 lanes side by side, folded at the end."""
    rows = words.reshape(len(words), -1, _LANES)
    head = rows[:, 0].copy()
    head[:, 2] &= _WITHOUT_CHECKSUM
    sums = np.tile(_FIRST_SUMS, (len(words), 1))
    shifted = np.empty_like(sums)
    for row in (head, *(rows[:, index] for index in range(1, rows.shape[1])), _ZERO, _ZERO):
        np.bitwise_xor(sums, row, out=sums)
        np.right_shift(sums, _SHIFT, out=shifted)
        np.multiply(sums, _PRIME, out=sums)
        np.bitwise_xor(sums, shifted, out=sums)
    return np.bitwise_xor.reduce(sums, axis=1)


def _fingerprints(pages: Bytes, keys: Bytes) -> Fingerprints:
    whole = len(pages) - len(pages) % PAGE_BYTES
    rows = keys.view("<u8").astype(np.uint64, copy=False).reshape(2, KEYS_PER_ROW)
    result = _fingerprints_of_whole(_words(pages[:whole]), rows)
    if whole == len(pages):
        return result
    last = np.zeros(PAGE_BYTES, np.uint8)
    last[: len(pages) - whole] = pages[whole:]
    return np.append(result, _fingerprints_of_whole(_words(last), rows))


def _fingerprints_of_whole(words: _Words, keys: npt.NDArray[np.uint64]) -> Fingerprints:
    high, low = (np.einsum("ij,j->i", words, row[1:]) + row[0] for row in keys)
    return (high >> _HALF << _HALF) | (low >> _HALF)


def _words(pages: Bytes) -> _Words:
    return pages.view("<u4").astype(np.uint32, copy=False).reshape(-1, PAGE_WORDS)


FUNCTIONS = Functions(
    checksums=_checksums, fingerprints=_fingerprints, crc32c=crc32c, crc32c_combine=crc32c_combine, commits=commits
)
