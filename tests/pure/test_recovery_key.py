"""A recovery key survives paper: however it is typed it is read, and a wrong group is named by its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepoint import errors
from safepoint.model.secret import Secret
from safepoint.repository.sealing.recovery_key import (
    is_recovery_key,
    new_recovery_key,
    recovery_key_from_text,
    recovery_key_to_text,
)

_KEYS = st.binary(min_size=32, max_size=32)
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_GROUPS = st.integers(1, 13)


def _groups(key: bytes) -> list[str]:
    """The word before, and the thirteen groups."""
    return recovery_key_to_text(key).reveal().split("-")


def _must_name(groups: list[str], *places: int) -> None:
    """What is refused, by these places and without a letter of the key."""
    with pytest.raises(errors.Misconfigured) as caught:
        recovery_key_from_text(Secret("-".join(groups)))
    assert f"group {' and '.join(map(str, places))} of the recovery key" in caught.value.message
    assert not any(group in str(caught.value) for group in groups[1:])


@given(key=_KEYS)
def test_what_is_printed_is_read(key: bytes) -> None:
    """Thirteen groups of five behind one word, on one line, give the key back."""
    text = recovery_key_to_text(key)

    assert [len(group) for group in _groups(key)] == [8, *[5] * 13]
    assert is_recovery_key(text)
    assert recovery_key_from_text(text) == key


@given(key=_KEYS, separator=st.sampled_from(["", " ", "  ", " - ", "\N{EN DASH}", "_"]))
def test_it_may_be_typed_as_people_type(key: bytes, separator: str) -> None:
    """Blanks, dashes of any kind, lower case, O for 0, I and l read as the digit they look like."""
    text = separator.join(_groups(key)).lower()
    typed = "".join({"0": "o", "1": "il"[index % 2]}.get(letter, letter) for index, letter in enumerate(text))

    assert is_recovery_key(Secret(typed))
    assert recovery_key_from_text(Secret(f" {typed} ")) == key


@given(key=_KEYS, place=_GROUPS, index=st.integers(0, 4), letter=st.sampled_from(_ALPHABET + "U!"))
def test_one_wrong_letter_names_its_group(key: bytes, place: int, index: int, letter: str) -> None:
    """Any letter, anywhere: the group that has it is told, and only that one."""
    groups = _groups(key)
    right = groups[place]
    groups[place] = right[:index] + letter + right[index + 1 :]

    if groups[place] != right:
        _must_name(groups, place)


@given(key=_KEYS, place=_GROUPS, pair=st.sampled_from([(a, b) for b in range(5) for a in range(b)]))
def test_two_letters_that_changed_places_name_their_group(key: bytes, place: int, pair: tuple[int, int]) -> None:
    """Neighbours or not."""
    groups = _groups(key)
    letters = list(groups[place])
    letters[pair[0]], letters[pair[1]] = letters[pair[1]], letters[pair[0]]

    if letters != list(groups[place]):
        groups[place] = "".join(letters)
        _must_name(groups, place)


@given(key=_KEYS, places=st.lists(_GROUPS, min_size=2, max_size=2, unique=True).map(sorted))
def test_two_groups_that_changed_places_are_named(key: bytes, places: list[int]) -> None:
    """A group belongs to its place, also when both are sound."""
    groups = _groups(key)
    one, other = places
    groups[one], groups[other] = groups[other], groups[one]

    if groups[one] == groups[other]:
        raise AssertionError("two groups at two places cannot be equal")
    _must_name(groups, one, other)


@pytest.mark.parametrize("change", [lambda group: group[:-1], lambda group: group + "X"])
def test_a_missing_or_doubled_letter_names_its_group(change: object) -> None:
    """The separators tell where the letter is missing."""
    groups = _groups(bytes(range(32)))
    groups[7] = change(groups[7])  # type: ignore[operator]

    with pytest.raises(errors.Misconfigured, match=r"RP003: found 6[46] letters .* not five in group 7, expected 13"):
        recovery_key_from_text(Secret("-".join(groups)))


@pytest.mark.parametrize("text", ["", "correct horse battery staple", "RECOVERY", "recovery " * 30, "x" * 73])
def test_a_passphrase_is_not_taken_for_one(text: str) -> None:
    """Only what begins with the word and is as long as a recovery key."""
    assert not is_recovery_key(Secret(text))


def test_each_is_another() -> None:
    """256 random bits."""
    assert len({new_recovery_key() for _ in range(100)}) == 100
