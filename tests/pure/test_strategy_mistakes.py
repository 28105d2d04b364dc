"""Mistakes in a strategy file: all are told at once, each at its place, and no secret is repeated."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepoint import errors
from safepoint.strategy import (
    load_strategy,
    mistakes_in,
)
from strategy_samples import GOLDEN, MINIMAL, RELAXED, WITH_REPOSITORY, parsed


def lines_of(text: str) -> list[str]:
    return [mistake.line("safepoint.toml") for mistake in mistakes_in(text)]


def must_complain(text: str, *lines: str) -> None:
    assert lines_of(text) == [f"safepoint.toml:{line}" for line in lines]


def test_a_file_with_many_mistakes_is_told_all_of_them() -> None:
    """Every mistake, in the order of the file, with line, column, found and expected."""
    with pytest.raises(errors.Misconfigured) as caught:
        load_strategy(GOLDEN / "mistakes.toml")
    assert caught.value.spec is errors.CF001
    assert caught.value.message + "\n" == (GOLDEN / "mistakes.txt").read_text()
    assert "env:NAME" in caught.value.hints[0].text


def test_no_secret_stands_in_the_report() -> None:
    """What was written where a reference belongs is never repeated, nor kept in a chained exception."""
    with pytest.raises(errors.Misconfigured) as caught:
        load_strategy(GOLDEN / "mistakes.toml")
    for secret in ("hunter2", "correct horse", "AKIA", "T0/B0"):
        assert secret not in caught.value.message
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_single_mistake_is_a_single_line() -> None:
    """No headline for one mistake."""
    with pytest.raises(errors.Misconfigured) as caught:
        parsed(MINIMAL + 'plattform = "rds"\n')
    assert caught.value.message.startswith("safepoint.toml:3:1: database.shop.plattform: found an unknown key")
    assert caught.value.message.endswith('; did you mean "platform"?')
    assert caught.value.hints == ()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:pw@db/shop",
        "postgresql://app:p/w?#@db/shop",
        "postgresql://app@db/shop?password=pw",
        "postgresql://app@db/shop?sslmode=require&ssl%70assword=pw",
        "host=db password=pw",
        "prisma://accelerate.example/?api_key=pw",
    ],
)
def test_a_url_with_a_password_is_refused_and_not_repeated(url: str) -> None:
    """However the password is written."""
    (line,) = lines_of(f"[database.shop]\nurl = '{url}'")
    assert line.startswith("safepoint.toml:2:7: database.shop.url: found a ")
    assert "pw" not in line


@pytest.mark.parametrize(
    ("text", "place", "complaint"),
    [
        ("a = ", "1:5", "invalid value"),
        ("\r\n[a\r\n", "2:3", "expected ']' at the end of a table declaration"),
        ("a = [1,\n  2", "2:4", "unclosed array"),
        ("a = " + "[" * 5000, "1:1", "it is nested too deep"),
    ],
)
def test_what_is_no_toml_is_told_with_its_place(text: str, place: str, complaint: str) -> None:
    """tomllib's complaint, at the place where it stopped; where it names none, the start."""
    must_complain(text, f'{place}: found no valid TOML ({complaint}), expected lines like: key = "text"')


def test_a_number_beyond_all_measure_is_told() -> None:
    """Python refuses it with an error that is not tomllib's own."""
    (line,) = lines_of("a = " + "9" * 5000)
    assert line.startswith("safepoint.toml:1:1: found no valid TOML (")


def test_every_key_that_is_said_twice_is_told_with_its_first_place() -> None:
    """tomllib stops at the first; the scan goes on."""
    must_complain(
        MINIMAL + 'url = "env:OTHER"\n[migrate]\n[migrate]\n',
        "3:1: database.shop.url: found a second time, expected once (the first is in line 2)",
        "5:2: migrate: found a second time, expected once (the first is in line 4)",
    )


def test_said_twice_and_no_toml_are_both_told() -> None:
    """A repetition does not hide the syntax error that stopped the reader."""
    must_complain(
        "a = 1\nb = ?\na = 2\n",
        '2:5: found no valid TOML (invalid value), expected lines like: key = "text"',
        "3:1: a: found a second time, expected once (the first is in line 1)",
    )


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("", ["1:1: found no database, expected at least one [database.NAME]"]),
        ("database = 5", ["1:12: database: found an integer, expected a table"]),
        ("[database]\nshop = 5", ["2:8: database.shop: found an integer, expected a table"]),
        ("[database.shop]", ["1:11: database.shop.url: found nothing, expected a reference like"]),
        (
            MINIMAL + "migrations = 1979-05-27",
            ["3:14: database.shop.migrations: found a date or time, expected a table"],
        ),
        (MINIMAL + 'of = "shop"', ['3:6: database.shop.of: found a circle "shop" → "shop", expected an end']),
        (
            MINIMAL + 'platform = "rds"\nregion = "r"',
            ["1:11: database.shop.instance: found nothing, expected instance"],
        ),
        (MINIMAL + 'instance = "x"', ['3:1: database.shop.instance: found instance with platform "self-managed"']),
        (MINIMAL + '[tier.daily]\nkeep = "1d"', ["3:7: tier.daily: found no repository to keep this in"]),
        (MINIMAL + '[wal.shop]\nkeep = "1d"', ["3:6: wal.shop: found no repository to keep this in"]),
        (
            WITH_REPOSITORY + 'mode = "eventual"',
            ['6:8: repository.main.mode: found only repositories of mode "eventual", expected a required one'],
        ),
        (
            MINIMAL + '[database.copy]\nurl = "env:DATABASE_URL"',
            ["4:7: database.copy.url: found the url of database.shop again, expected a database of its own"],
        ),
        (
            MINIMAL + 'migrations.a.folder = "m"\nmigrations.b.folder = "m/"',
            ["4:23: database.shop.migrations.b.folder: found the folder and schema of a again"],
        ),
        (
            MINIMAL + "[migrate]\nmax_waiters = -1",
            ["4:15: migrate.max_waiters: found the integer -1, expected a whole"],
        ),
        (
            MINIMAL + '[repository.main]\nurl = "file:/r"\nkey = "none"\n[tier.daily]\nkeep = "1d"\ncompression = 20',
            ["8:15: tier.daily.compression: found the integer 20, expected a whole number from 1 to 19"],
        ),
        (
            MINIMAL + "[migrate]\nmax_waiters = true",
            ["4:15: migrate.max_waiters: found the boolean true, expected a whole"],
        ),
        (
            MINIMAL + f"[migrate]\nmax_waiters = 0x{'f' * 5000}",
            ["4:15: migrate.max_waiters: found an integer, expected a whole number from 0 to 10000"],
        ),
        (MINIMAL + '[migrate]\ncontract = "now"', ['4:12: migrate.contract: found "now", expected "manual"']),
        (MINIMAL + "migrate = 5", ["3:1: database.shop.migrate: found an unknown key"]),
        (
            WITH_REPOSITORY + '[tier.daily]\nkeep = "1d"\nrepository = "man"',
            ['8:14: tier.daily.repository: found "man", expected the name of a [repository] (known: main)'],
        ),
        (
            WITH_REPOSITORY + '[tier.daily]\nkeep = "1d"\nrepository = " "',
            [
                '8:14: tier.daily.repository: found " ", expected a text that is not blank',
                '8:14: tier.daily.repository: found " ", expected the name of a [repository]',
            ],
        ),
        (
            WITH_REPOSITORY + "[drill.x]\nqueries = 1",
            ["7:11: drill.x.queries: found an integer, expected an array of SQL"],
        ),
        (
            MINIMAL + 'data = "/a\\u0000b"',
            ["3:8: database.shop.data: found a text with a NUL character, expected an abs"],
        ),
        (MINIMAL + "[repository]\nmain = 1", ["4:8: repository.main: found an integer, expected a table"]),
        ("migrate = 5\n" + MINIMAL, ["1:11: migrate: found an integer, expected a table"]),
    ],
)
def test_each_mistake_is_told_where_it_stands(text: str, mistakes: list[str]) -> None:
    """Position, key, found and expected; and nothing else is complained about."""
    lines = lines_of(text)
    assert len(lines) == len(mistakes), lines
    for line, mistake in zip(lines, mistakes, strict=True):
        assert line.startswith(f"safepoint.toml:{mistake}")


def test_a_circle_is_told_once_and_those_who_lead_into_it_are_not_blamed() -> None:
    """a → b → a is one mistake; c → a is none of its own."""
    text = "".join(
        f'[repository.{name}]\nurl = "file:/{name}"\nkey = "none"\nsibling_of = "{other}"\n'
        for name, other in (("c", "a"), ("a", "b"), ("b", "a"))
    )
    must_complain(MINIMAL + text, '10:14: repository.a.sibling_of: found a circle "a" → "b" → "a", expected an end')


def test_wrong_shapes_do_not_hide_wrong_references() -> None:
    """What one key says about another is judged even where other keys have the wrong type."""
    must_complain(
        '[database.shop]\nurl = 5\n[database.staging]\nurl = "env:S"\nof = "shp"\n',
        f"2:7: database.shop.url: found an integer, expected {'a reference like'} "
        '"env:DATABASE_URL", or a postgresql:// URL without a password',
        '5:6: database.staging.of: found "shp", expected the name of a [database] (known: shop, staging); '
        'did you mean "shop"?',
    )


@RELAXED
@given(
    st.recursive(
        st.integers() | st.text("ab:/") | st.booleans(), lambda inner: st.lists(inner, max_size=2), max_leaves=4
    )
)
def test_any_value_anywhere_is_told_or_taken(value: object) -> None:
    """No type in any place makes the loader raise anything but its own report."""
    written = json.dumps(value)
    places = ("database", "repository", "wal", "tier", "drill", "scenario", "migrate", "notify")
    keys = (
        "url",
        "of",
        "platform",
        "migrations",
        "repository",
        "sibling_of",
        "lock_timeout",
        "success",
        "keep",
        "mode",
    )
    for section in places:
        lines_of(f"{section} = {written}")
        lines_of(f"[{section}]\nx = {written}")
        lines_of(f"[{section}.x]\n" + "".join(f"{key} = {written}\n" for key in keys))
