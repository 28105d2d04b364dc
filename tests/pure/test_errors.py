"""The registry: codes are unique, families decide exit codes, errors say what changed."""

from __future__ import annotations

import re

from safepoint import errors
from safepoint.errors import REGISTRY, ExitCode, Family


def test_codes_are_unique_and_spelt_alike() -> None:
    """Two letters and three digits, each once, under its own name."""
    codes = [spec.code for spec in REGISTRY]

    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[A-Z]{2}\d{3}", code) for code in codes)
    assert all(getattr(errors, spec.code) is spec for spec in REGISTRY)


def test_titles_are_one_lower_case_line() -> None:
    """They stand in a table; names and acronyms may be upper case."""
    assert all("\n" not in spec.title and not spec.title.endswith(".") for spec in REGISTRY)


def test_each_family_has_its_own_exit_code() -> None:
    """A script can tell them apart."""
    codes = {spec.family: spec.exit_code for spec in REGISTRY}

    assert set(codes) == set(Family)
    assert len(set(codes.values())) == len(Family)
    assert ExitCode.OK not in codes.values()


def test_only_the_unreachable_may_be_tried_again() -> None:
    """Trying again never helps against a refusal or damage."""
    assert {spec.family for spec in REGISTRY if spec.is_retryable} == {Family.UNREACHABLE}


def test_an_error_carries_its_fact_and_says_that_nothing_changed() -> None:
    """The default is the safe statement, and it must be replaced where it is not true."""
    error = errors.RC002.error("found 3 entries, expected none", hints=[errors.ask("is it in use?"), errors.run("ls")])

    assert isinstance(error, errors.Refused)
    assert str(error) == "RC002: found 3 entries, expected none"
    assert error.changed == "nothing was changed"
    assert [hint.text for hint in error.hints] == ["is it in use?", "ls"]
