"""A printed key survives paper: however it is typed it is read, and a wrong group is named by its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepoint import errors
from safepoint.model.secret import Secret
from safepoint.repository.sealing.printed_key import KeyForm, form_of, key_from_text, key_to_text, new_key

_KEYS = st.binary(min_size=32, max_size=32)
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_GROUPS = st.integers(1, 13)
_FORMS = st.sampled_from(KeyForm)


def _groups(key: bytes, form: KeyForm = KeyForm.RECOVERY) -> list[str]:
    """The word before, and the thirteen groups."""
    return key_to_text(key, form).reveal().split("-")


def _must_name(groups: list[str], *places: int) -> None:
    """What is refused, by these places and without a letter of the key."""
    with pytest.raises(errors.Misconfigured) as caught:
        key_from_text(Secret("-".join(groups)), KeyForm.RECOVERY)
    assert f"group {' and '.join(map(str, places))} of the recovery key" in caught.value.message
    assert not any(group in str(caught.value) for group in groups[1:])


@given(key=_KEYS, form=_FORMS)
def test_what_is_printed_is_read(key: bytes, form: KeyForm) -> None:
    """Thirteen groups of five behind one word, on one line, give the key back."""
    text = key_to_text(key, form)

    assert [len(group) for group in _groups(key, form)] == [len(form.prefix), *[5] * 13]
    assert form_of(text) is form
    assert key_from_text(text, form) == key


@given(key=_KEYS, form=_FORMS, separator=st.sampled_from(["", " ", "  ", " - ", "\N{EN DASH}", "_"]))
def test_it_may_be_typed_as_people_type(key: bytes, form: KeyForm, separator: str) -> None:
    """Blanks, dashes of any kind, lower case, O for 0, I and l read as the digit they look like."""
    text = separator.join(_groups(key, form)).lower()
    typed = "".join({"0": "o", "1": "il"[index % 2]}.get(letter, letter) for index, letter in enumerate(text))

    assert form_of(Secret(typed)) is form
    assert key_from_text(Secret(f" {typed} "), form) == key


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
        key_from_text(Secret("-".join(groups)), KeyForm.RECOVERY)


@pytest.mark.parametrize(
    "text", ["", "correct horse battery staple", "RECOVERY", "recovery " * 30, "key", "key " * 30, "x" * 73]
)
def test_a_passphrase_is_not_taken_for_one(text: str) -> None:
    """Only what begins with the word and is as long as a printed key."""
    assert form_of(Secret(text)) is None


def test_each_is_another() -> None:
    """256 random bits."""
    assert len({new_key() for _ in range(100)}) == 100
