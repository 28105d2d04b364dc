"""The kinds of text in the strategy file, each with what it takes and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safepoint.strategy import kinds
from safepoint.strategy.schedule import schedule

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure


@pytest.mark.parametrize(
    "text",
    [
        "0 2 * * *",
        "*/15 0-6,18-23/2 1,15 JAN-mar sun",
        "59 23 31 12 7",
        "0 0 29 feb *",
        "0 0 30 2 mon",
        "0  0\t1 1-12/3 1-5",
    ],
)
def test_schedules_of_cron_are_taken(text: str) -> None:
    """Lists, ranges, steps and names; day 30 of February where a weekday matches as well."""
    assert schedule(text).text == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", 'found "" with 0 fields, expected five'),
        ("@daily", 'found "@daily" with 1 fields'),
        ("0 2 * * * *", "with 6 fields"),
        ("60 2 * * *", 'found "60" in the field of the minute, expected minute 0-59'),
        ("0 24 * * *", 'found "24" in the field of the hour, expected hour 0-23'),
        ("0 0 0 * *", "expected day of month 1-31"),
        ("0 0 * 13 *", "expected month 1-12"),
        ("0 0 * foo *", 'found "foo" in the field of the month'),
        ("0 0 * * 8", "expected day of week 0-7"),
        ("*/0 0 * * *", 'found "*/0" in the field of the minute, expected *, a number'),
        ("5/15 0 * * *", 'found "5/15"'),
        ("30-10 0 * * *", "expected a range that ascends"),
        ("1,,2 0 * * *", 'found "" in the field of the minute'),
        ("² 0 * * *", 'found "²"'),
        ("0 0 31 4,6 *", "no such month has a day 31"),
        ("0 0 30-31 2 *", "no such month has a day 30"),
    ],
)
def test_schedules_that_would_never_run_are_refused(text: str, found: str) -> None:
    """The first wrong field is named with its range; so is a day that no year has."""
    with pytest.raises(ValueError, match=r"^found") as caught:
        schedule(text)
    assert found in str(caught.value)


@RELAXED
@given(st.text("0123456789*/-,janMON x", max_size=20))
def test_any_text_is_a_schedule_or_refused(text: str) -> None:
    """Nothing but ValueError, and what is taken is taken again."""
    try:
        taken = schedule(text)
    except ValueError:
        return
    assert schedule(taken.text) == taken


@pytest.mark.parametrize(
    "text", ["env:", "file: ", "cmd:", "env:A-B", "env:1A", "cmd:a 'b", "hunter2", "ENV:A", "none"]
)
def test_what_is_no_reference_is_refused_without_repeating_it(text: str) -> None:
    """It may be the secret itself."""
    with pytest.raises(ValueError, match=r"^found") as caught:
        kinds.reference(text)
    assert "hunter2" not in str(caught.value)


def test_a_key_may_be_none_on_purpose() -> None:
    """The word none is the only literal that a key may be."""
    assert kinds.key("none") is None
    assert str(kinds.key("cmd:pass show safepoint")) == "cmd:pass show safepoint"
    with pytest.raises(ValueError, match='or "none" to store unencrypted'):
        kinds.key("None")


@pytest.mark.parametrize("text", ["https://hooks.example/T0", "slack://T0/B0", "someone@example.com", ""])
def test_a_web_hook_is_a_secret(text: str) -> None:
    """Only addresses that open nothing may stand in the file."""
    with pytest.raises(ValueError, match=r"^found a literal value, expected a reference"):
        kinds.channel(text)


@pytest.mark.parametrize("text", ["mailto:dba@example.com", "sns:arn:aws:sns:us-east-1:111122223333:alerts"])
def test_an_address_may_stand_in_the_file(text: str) -> None:
    """A topic and a mail address."""
    assert kinds.channel(text).is_literal


@pytest.mark.parametrize("text", ["", " ", "memory:", "ftp://h/x", "S3://bucket"])
def test_a_store_that_is_none_is_refused(text: str) -> None:
    """memory: would forget the backups."""
    with pytest.raises(ValueError, match=r'^found .*, expected a folder \("file:/path"\)'):
        kinds.repository_url(text)


@pytest.mark.parametrize(
    "text", ["s3://AKIA:pw@bucket", "az://c/p?sv=1&sig=pw", "gs://b?token=pw", "s3://b?region=r&access_key_id=pw"]
)
def test_credentials_of_a_store_are_refused_without_repeating_them(text: str) -> None:
    """They come from the environment, a profile or a role."""
    with pytest.raises(ValueError, match=r"^found a URL with a password or key in it") as caught:
        kinds.repository_url(text)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("text", ["a", "A1._-", "a" * 63])
def test_names_that_fit_a_path(text: str) -> None:
    """Letters, digits, three signs, 63 at most."""
    assert kinds.name(text) == text


@pytest.mark.parametrize("text", ["", ".", "-a", "a/b", "a" * 64, "a\n", "ä"])
def test_names_that_do_not_fit_a_path(text: str) -> None:
    """Nothing that a path, a shell or an option parser takes for something else."""
    with pytest.raises(ValueError, match=r"^found the name"):
        kinds.name(text)


def test_long_values_are_cut() -> None:
    """A report stays readable."""
    assert kinds.quoted("x" * 100) == '"' + "x" * 59 + '…"'
