"""Which passphrases are taken: judged by the characters that count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepoint import errors
from safepoint.model.secret import Secret
from safepoint.workflows.passphrases import (
    ENOUGH,
    LEAST,
    characters_that_count,
    require_strong,
    weakness_warnings,
)


@pytest.mark.parametrize(
    ("passphrase", "counted"),
    [
        ("", 0),
        ("password", 1),
        ("Password1", 2),
        ("aaaaaaaaaaaaaaaaaaaa", 1),
        ("abcdefghijkl", 1),
        ("abababababababababab", 1),
        ("axaxaxaxaxaxaxaxaxax", 4),
        ("4711081547110815", 5),
        ("hunter2", 7),
        ("correct horse battery staple", 23),
    ],
)
def test_characters_that_count(passphrase: str, counted: int) -> None:
    """Runs, repeats and common words count as one, digits among themselves half, none more than twice."""
    assert characters_that_count(passphrase) == counted


@given(st.text())
def test_never_more_than_there_are(passphrase: str) -> None:
    """Whatever it is made of."""
    assert 0 <= characters_that_count(passphrase) <= len(passphrase)


@given(st.binary(min_size=18, max_size=40))
def test_what_a_machine_makes_passes(key: bytes) -> None:
    """Hexadecimal digits of 18 bytes or more; bytes that are all alike are not what a machine makes."""
    text = key.hex()
    if len(set(text)) * 2 >= ENOUGH and characters_that_count(text) >= ENOUGH:
        require_strong(Secret(text), "env:KEY")
        assert weakness_warnings(Secret(text), "env:KEY") == []


@pytest.mark.parametrize("passphrase", ["", "hunter2", "1234567890", "letmein letmein"])
def test_refused_without_a_letter_of_it(passphrase: str) -> None:
    """The error has both numbers and the reference alone."""
    with pytest.raises(errors.Refused, match=f"RP014: found . characters .* of env:KEY, expected at least {LEAST}"):
        require_strong(Secret(passphrase), "env:KEY")


def test_without_encryption_there_is_nothing_to_judge() -> None:
    """No passphrase, no warning."""
    assert weakness_warnings(None, "none") == []
