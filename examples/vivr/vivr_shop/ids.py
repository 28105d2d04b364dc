"""Ids shaped like Prisma's cuid: 25 characters, `c`, eight of time, four each of serial, mark and two of chance.

An id made here from the same numbers is the same on every Python, platform and hash seed: only integer
arithmetic and tables are used, never `hash()` or the methods of `random` whose algorithm may change.
Two ids of one mark differ when their milliseconds differ, or their serials modulo 65536.
"""

from __future__ import annotations

import secrets
import time
from itertools import count, product
from typing import Final

DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_TWO: Final = tuple("".join(pair) for pair in product(DIGITS, repeat=2))
_THREE: Final = tuple("".join(triple) for triple in product(DIGITS, repeat=3))
_MASK: Final = (1 << 64) - 1
_serials: Final = count(secrets.randbits(16))


def _four(number: int) -> str:
    return _THREE[number // 36] + DIGITS[number % 36]


FOUR: Final = tuple(_four(number * 25) for number in range(1 << 16))
"""65,536 different words of four characters, looked up by any sixteen bits."""


def mix(seed: int, stream: int, number: int) -> int:
    """64 well-mixed bits for the number-th draw of a stream (splitmix64 by Steele, Lea and Flood)."""
    z = (seed * 0xD1342543DE82EF95 + stream * 0x2545F4914F6CDD1D + number * 0x9E3779B97F4A7C15 + 1) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def time_word(milliseconds: int) -> str:
    """The first nine characters of an id made at that instant since the epoch: they sort by time until 2059."""
    high, low = divmod(milliseconds, 46656)
    return "c" + _TWO[high // 46656] + _THREE[high % 46656] + _THREE[low]


def mark_of(table: str) -> str:
    """The four characters that all generated ids of a table share."""
    number = 0
    for letter in table:
        number = number * 31 + ord(letter)
    return FOUR[number & 0xFFFF]


def cuid(milliseconds: int, serial: int, mark: str, bits: int) -> str:
    """The id of one row, from its time, its place in the table, the table's mark and 32 bits of chance."""
    return time_word(milliseconds) + FOUR[serial & 0xFFFF] + mark + FOUR[bits & 0xFFFF] + FOUR[(bits >> 16) & 0xFFFF]


def fresh_cuid() -> str:
    """An id that nobody else has, as a running application makes them."""
    bits = secrets.randbits(48)
    return cuid(time.time_ns() // 1_000_000, next(_serials), FOUR[bits >> 32], bits)
