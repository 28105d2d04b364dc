"""The printed form of keys that were made, not thought up: a person can copy them, and is told where he erred.

    KEY-XXXXX-XXXXX-…               a generated key, for every day: thirteen groups of four letters and a check letter
    RECOVERY-XXXXX-XXXXX-…          a recovery key, for the safe: the same behind another word

The key is 256 random bits. With four bits of its BLAKE3 behind them they make 52 letters of Crockford's base 32
(https://www.crockford.com/base32.html: no I, L, O, U). The fifth letter of a group checks the other four and the
group's place: weights in GF(32), all different, find each single wrong letter, each swap of two letters of a group
and each swap of two groups.
"""

from __future__ import annotations

import re
import secrets
from enum import Enum

from blake3 import blake3

from safepoint import errors
from safepoint.model.secret import Secret

KEY_BYTES = 32
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)} | {"O": 0, "I": 1, "L": 1}
_GROUPS, _DATA, _WIDTH = 13, 4, 5
_SPARE_BITS = 5 * _GROUPS * _DATA - 8 * KEY_BYTES
_SEPARATORS = re.compile(r"[\s\-_.,\u2010-\u2015\u2212]+")
_POLYNOMIAL = 0b100101  # x^5 + x^2 + 1, irreducible over GF(2)


class KeyForm(Enum):
    """Which key it is; the value is what people call it."""

    GENERATED = "generated key"
    RECOVERY = "recovery key"

    @property
    def prefix(self) -> str:
        """The word before the groups."""
        return _PREFIXES[self]


_PREFIXES = {KeyForm.GENERATED: "KEY", KeyForm.RECOVERY: "RECOVERY"}


def new_key() -> bytes:
    """256 random bits."""
    return secrets.token_bytes(KEY_BYTES)


def key_to_text(key: bytes, form: KeyForm) -> Secret:
    """The one line to print."""
    number = int.from_bytes(key, "big") << _SPARE_BITS | _spare(key)
    digits = [number >> 5 * place & 31 for place in reversed(range(_GROUPS * _DATA))]
    groups = [digits[start : start + _DATA] for start in range(0, len(digits), _DATA)]
    lines = ["".join(_ALPHABET[d] for d in (*group, _check(group, place))) for place, group in enumerate(groups)]
    return Secret("-".join((form.prefix, *lines)))


def form_of(text: Secret) -> KeyForm | None:
    """What this is meant as, well typed or not, by the word before and the length; None for a passphrase."""
    compact = _compact(text.reveal())
    return next((form for form in KeyForm if _has_form(compact, form.prefix)), None)


def key_from_text(text: Secret, form: KeyForm) -> bytes:
    """The key; case, blanks and dashes do not matter, O is read as 0, I and L as 1. RP003 names wrong groups by place.

    The text itself is never repeated.
    """
    letters = _as_letters(_compact(text.reveal())[len(form.prefix) :])
    if len(letters) != _GROUPS * _WIDTH:
        raise _wrong_length(text, len(letters), form)
    groups = [letters[start : start + _WIDTH] for start in range(0, len(letters), _WIDTH)]
    wrong = [place + 1 for place, group in enumerate(groups) if not _is_sound(group, place)]
    if wrong:
        raise _mistyped(wrong, form)
    number = 0
    for letter in "".join(group[:_DATA] for group in groups):
        number = number << 5 | _VALUES[letter]
    key = (number >> _SPARE_BITS).to_bytes(KEY_BYTES, "big")
    if number & ((1 << _SPARE_BITS) - 1) != _spare(key):
        raise _mistyped([], form)
    return key


def _has_form(compact: str, prefix: str) -> bool:
    length = len(compact) - len(prefix)
    return _as_letters(compact[: len(prefix)]) == _as_letters(prefix) and abs(length - _GROUPS * _WIDTH) <= _WIDTH


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


def _wrong_length(text: Secret, length: int, form: KeyForm) -> errors.SafepointError:
    """Says which group, where separators tell it."""
    groups = [group for group in _SEPARATORS.split(text.reveal().strip()) if group][1:]
    wrong = [place + 1 for place, group in enumerate(groups) if len(group) != _WIDTH]
    where = f", not five in group {_places(wrong)}" if len(groups) == _GROUPS and wrong else ""
    return errors.RP003.error(
        f"found {length} letters in the {form.value}{where}, expected {_GROUPS} groups of {_WIDTH}",
        hints=[errors.run("compare it with the one that was printed, group by group")],
    )


def _mistyped(wrong: list[int], form: KeyForm) -> errors.SafepointError:
    where = f"group {_places(wrong)} of the {form.value}" if wrong else f"the {form.value}"
    return errors.RP003.error(
        f"found {where} with letters that do not fit its check letter, expected them as printed",
        hints=[errors.run("compare the letters there with the printed ones; O and 0, or I, L and 1, are the same")],
    )


def _places(wrong: list[int]) -> str:
    return " and ".join(map(str, wrong))
