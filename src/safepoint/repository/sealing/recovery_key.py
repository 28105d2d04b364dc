"""The printed form of a recovery key: what a person can copy from paper, and be told where he erred.

    RECOVERY-XXXXX-XXXXX-…          thirteen groups of four letters and a check letter

The key is 256 random bits. With four bits of its BLAKE3 behind them they make 52 letters of Crockford's base 32
(https://www.crockford.com/base32.html: no I, L, O, U). The fifth letter of a group checks the other four and the
group's place: weights in GF(32), all different, find each single wrong letter, each swap of two letters of a group
and each swap of two groups.
"""

from __future__ import annotations

import re
import secrets

from blake3 import blake3

from safepoint import errors
from safepoint.model.secret import Secret

KEY_BYTES = 32
_PREFIX = "RECOVERY"
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)} | {"O": 0, "I": 1, "L": 1}
_GROUPS, _DATA, _WIDTH = 13, 4, 5
_SPARE_BITS = 5 * _GROUPS * _DATA - 8 * KEY_BYTES
_SEPARATORS = re.compile(r"[\s\-_.,\u2010-\u2015\u2212]+")
_POLYNOMIAL = 0b100101  # x^5 + x^2 + 1, irreducible over GF(2)


def new_recovery_key() -> bytes:
    """256 random bits."""
    return secrets.token_bytes(KEY_BYTES)


def recovery_key_to_text(key: bytes) -> Secret:
    """The one line to print."""
    number = int.from_bytes(key, "big") << _SPARE_BITS | _spare(key)
    digits = [number >> 5 * place & 31 for place in reversed(range(_GROUPS * _DATA))]
    groups = [digits[start : start + _DATA] for start in range(0, len(digits), _DATA)]
    lines = ["".join(_ALPHABET[d] for d in (*group, _check(group, place))) for place, group in enumerate(groups)]
    return Secret("-".join((_PREFIX, *lines)))


def is_recovery_key(text: Secret) -> bool:
    """Whether this is meant as a recovery key, well typed or not: it begins with RECOVERY and is as long as one."""
    compact = _compact(text.reveal())
    length = len(compact) - len(_PREFIX)
    return _as_letters(compact[: len(_PREFIX)]) == _as_letters(_PREFIX) and abs(length - _GROUPS * _WIDTH) <= _WIDTH


def recovery_key_from_text(text: Secret) -> bytes:
    """The key; case, blanks and dashes do not matter, O is read as 0, I and L as 1. RP003 names wrong groups by place.

    The text itself is never repeated.
    """
    letters = _as_letters(_compact(text.reveal())[len(_PREFIX) :])
    if len(letters) != _GROUPS * _WIDTH:
        raise _wrong_length(text, len(letters))
    groups = [letters[start : start + _WIDTH] for start in range(0, len(letters), _WIDTH)]
    wrong = [place + 1 for place, group in enumerate(groups) if not _is_sound(group, place)]
    if wrong:
        raise _mistyped(wrong)
    number = 0
    for letter in "".join(group[:_DATA] for group in groups):
        number = number << 5 | _VALUES[letter]
    key = (number >> _SPARE_BITS).to_bytes(KEY_BYTES, "big")
    if number & ((1 << _SPARE_BITS) - 1) != _spare(key):
        raise _mistyped([])
    return key


def _compact(text: str) -> str:
    return _SEPARATORS.sub("", text).upper()


def _as_letters(text: str) -> str:
    return text.replace("O", "0").replace("I", "1").replace("L", "1")


def _is_sound(group: str, place: int) -> bool:
    if any(letter not in _VALUES for letter in group):
        return False
    *data, check = (_VALUES[letter] for letter in group)
    return _check(data, place) == check


def _check(data: list[int], place: int) -> int:
    """place + 1, plus the digits weighted with 2, 4, 8, 16, all in GF(32)."""
    check = place + 1
    for index, digit in enumerate(data):
        check ^= _times(digit, 2 << index)
    return check


def _times(one: int, other: int) -> int:
    product = 0
    while other:
        product ^= one if other & 1 else 0
        other >>= 1
        one <<= 1
        one ^= _POLYNOMIAL if one & 32 else 0
    return product


def _spare(key: bytes) -> int:
    return blake3(key).digest()[0] >> 8 - _SPARE_BITS


def _wrong_length(text: Secret, length: int) -> errors.SafepointError:
    """Says which group, where separators tell it."""
    groups = [group for group in _SEPARATORS.split(text.reveal().strip()) if group][1:]
    wrong = [place + 1 for place, group in enumerate(groups) if len(group) != _WIDTH]
    where = f", not five in group {_places(wrong)}" if len(groups) == _GROUPS and wrong else ""
    return errors.RP003.error(
        f"found {length} letters in the recovery key{where}, expected {_GROUPS} groups of {_WIDTH}",
        hints=[errors.run("compare it with the printed one, group by group")],
    )


def _mistyped(wrong: list[int]) -> errors.SafepointError:
    where = f"group {_places(wrong)} of the recovery key" if wrong else "the recovery key"
    return errors.RP003.error(
        f"found {where} with letters that do not fit its check letter, expected them as printed",
        hints=[errors.run("compare the letters there with the printed ones; O and 0, or I, L and 1, are the same")],
    )


def _places(wrong: list[int]) -> str:
    return " and ".join(map(str, wrong))
