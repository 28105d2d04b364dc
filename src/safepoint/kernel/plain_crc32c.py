"""CRC32C in numpy: a buffer is cut into lanes of equal length, which go byte by byte together and are joined in pairs.

The remainder, what is between the inversions at either end, is linear: zero bytes in front change nothing, zero bytes
behind multiply by a power of x, and the remainder of two stretches is the sum of the first, moved, and the second.
Polynomials stand with their bits reversed, x^0 highest (RFC 3720, appendix B.4).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from safepoint.kernel.shapes import Bytes

_Crcs = npt.NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78
_ONE = 0x80000000
_EIGHTH_POWER = 0x00800000
_ALL = 0xFFFFFFFF
_STEP_BYTES = 8
_LANE_BYTES = 1024
_AT_ONCE = 4 * 1024 * 1024
_BYTE = np.uint32(0xFF)


def crc32c(data: Bytes, before: int) -> int:
    """The CRC32C of bytes of which `before` is the CRC32C, followed by `data`."""
    remainder = before ^ _ALL
    for start in range(0, len(data), _AT_ONCE):
        part = data[start : start + _AT_ONCE]
        remainder = _moved(remainder, len(part)) ^ _remainder(part)
    return remainder ^ _ALL


def crc32c_combine(first: int, second: int, second_length: int) -> int:
    """The CRC32C of bytes and others behind them, from that of each and how many the others are."""
    return _moved(first, second_length) ^ second


def _remainder(data: Bytes) -> int:
    """That of these bytes alone."""
    lanes = 1
    while lanes * _LANE_BYTES < len(data):
        lanes *= 2
    length = -(-len(data) // (lanes * _STEP_BYTES)) * _STEP_BYTES
    filled = np.zeros(lanes * length, np.uint8)
    filled[lanes * length - len(data) :] = data
    remainders = _lanes(filled.view("<u4").astype(np.uint32, copy=False).reshape(lanes, -1))
    while len(remainders) > 1:
        remainders = _looked_up(_mover(length), remainders[::2]) ^ remainders[1::2]
        length *= 2
    return int(remainders[0])


def _lanes(words: _Crcs) -> _Crcs:
    """The remainder of each row."""
    columns = np.ascontiguousarray(words.T)
    far, near = _SLICES[4:], _SLICES[:4]
    remainders = np.zeros(columns.shape[1], np.uint32)
    for first, second in zip(columns[::2], columns[1::2], strict=True):
        remainders = _looked_up(far, remainders ^ first) ^ _looked_up(near, second)
    return remainders


def _looked_up(tables: _Crcs, values: _Crcs) -> _Crcs:
    """The sum over the four bytes of each value; the lowest has the last table."""
    found = tables[3].take(values & _BYTE)
    for number, shift in ((2, 8), (1, 16), (0, 24)):
        found ^= tables[number].take((values >> np.uint32(shift)) & _BYTE)
    return found


@lru_cache(64)
def _mover(length: int) -> _Crcs:
    """Tables for `_looked_up` that multiply by x^(8 * length)."""
    power = _power(length)
    columns = [_product(power, 1 << bit) for bit in range(32)]
    tables = np.zeros((4, 256), np.uint32)
    for bit, column in enumerate(columns):
        table, mask = tables[3 - bit // 8], 1 << bit % 8
        table ^= np.where(np.arange(256) & mask, np.uint32(column), np.uint32(0))
    return tables


def _moved(remainder: int, length: int) -> int:
    return _product(_power(length), remainder)


@lru_cache(1024)
def _power(length: int) -> int:
    """x^(8 * length)."""
    power, square = _ONE, _EIGHTH_POWER
    while length:
        if length & 1:
            power = _product(square, power)
        square = _product(square, square)
        length >>= 1
    return power


def _product(a: int, b: int) -> int:
    result = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            result ^= b
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return result


def _slices() -> _Crcs:
    """`_slices()[k][byte]` is the remainder of the byte with k zero bytes behind it."""
    tables = np.zeros((_STEP_BYTES, 256), np.uint32)
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = (values >> np.uint32(1)) ^ np.where(values & np.uint32(1), np.uint32(_POLYNOMIAL), np.uint32(0))
    tables[0] = values
    for number in range(1, _STEP_BYTES):
        before = tables[number - 1]
        tables[number] = (before >> np.uint32(8)) ^ tables[0][before & _BYTE]
    return tables


_SLICES = _slices()
