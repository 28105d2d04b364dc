"""Statements become units by one rule, whatever wrote the file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepoint.errors import Misconfigured
from safepoint.migration.units import Unit, UnitKind, unit_from_json, unit_to_json, units_of
from safepoint.postgres.parse import split


def cut(script: str) -> list[tuple[str, list[str]]]:
    """Kind and statements of each unit."""
    units = units_of("m", split(script))
    return [(unit.kind.value, [statement.text for statement in unit.statements]) for unit in units]


PLAIN = st.integers(0, 99).map(lambda number: f"SELECT {number}")
SETTING = st.integers(64, 99).map(lambda size: f"SET work_mem = '{size}kB'")
LOCAL = st.just("SET LOCAL work_mem = '77kB'")
ALONE = st.sampled_from(["VACUUM t", "CREATE INDEX CONCURRENTLY i ON t (a)", "ALTER SYSTEM SET a = 1"])
BLOCK = st.lists(PLAIN | SETTING | LOCAL, max_size=3).map(lambda body: ["BEGIN", *body, "COMMIT"])
PIECE = (PLAIN | SETTING | ALONE).map(lambda text: [text]) | BLOCK
SCRIPTS = st.lists(PIECE, max_size=12).map(lambda pieces: [text for piece in pieces for text in piece])


def units_from(texts: list[str]) -> tuple[Unit, ...]:
    return units_of("m", split(";\n".join(texts)))


@given(SCRIPTS)
def test_units_are_the_statements_in_order(texts: list[str]) -> None:
    """Nothing is lost, doubled or moved; only BEGIN and COMMIT are not sent."""
    sent = [statement.text for unit in units_from(texts) for statement in unit.statements]
    assert sent == [text for text in texts if text not in {"BEGIN", "COMMIT"}]


@given(SCRIPTS)
def test_a_unit_alone_is_one_statement_that_refuses_transactions(texts: list[str]) -> None:
    """And none of those stands in a transaction."""
    for unit in units_from(texts):
        refusing = [statement.cannot_run_in_transaction for statement in unit.statements]
        assert refusing == ([True] if unit.kind is UnitKind.ALONE else [False] * len(refusing))


@given(SCRIPTS)
def test_units_are_numbered_and_there_is_always_one(texts: list[str]) -> None:
    """An empty file has a unit, so that its row has a transaction to be written in."""
    units = units_from(texts)
    assert [unit.number for unit in units] == list(range(1, len(units) + 1))
    assert units
    assert all(unit.statements for unit in units) or len(units) == 1


@given(SCRIPTS)
def test_each_unit_repeats_the_settings_before_it(texts: list[str]) -> None:
    """In order; not its own, and never SET LOCAL."""
    units = units_from(texts)
    for unit in units:
        earlier = [statement.text for before in units[: unit.number - 1] for statement in before.statements]
        assert list(unit.prelude) == [text for text in earlier if text.startswith("SET work_mem")]


@given(SCRIPTS)
def test_a_plan_holds_units_as_text(texts: list[str]) -> None:
    """Through JSON and back, kinds, lines, settings and digests stay."""
    for unit in units_from(texts):
        again = unit_from_json(json.loads(json.dumps(unit_to_json(unit))))
        assert again.digest == unit.digest
        assert [(item.text, item.line, item.kind, item.is_set) for item in again.statements] == [
            (item.text, item.line, item.kind, item.is_set) for item in unit.statements
        ]


def test_consecutive_statements_are_one_transaction() -> None:
    """And a statement that refuses transactions parts them."""
    assert cut("SELECT 1; SELECT 2; VACUUM; SELECT 3") == [
        ("transaction", ["SELECT 1", "SELECT 2"]),
        ("alone", ["VACUUM"]),
        ("transaction", ["SELECT 3"]),
    ]


def test_an_explicit_transaction_is_a_unit_of_its_own() -> None:
    """Opened with its own BEGIN, so that isolation is as asked."""
    first, second, third = units_of("m", split("SELECT 1; BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 2; END; SELECT 3"))
    assert (first.begin, second.begin, third.begin) == ("BEGIN", "BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN")


def test_what_postgresql_only_warns_of_may_stand() -> None:
    """BEGIN within a transaction does nothing; COMMIT without one ends what is open."""
    assert cut("BEGIN; SELECT 1; BEGIN; SELECT 2; COMMIT; SELECT 3; COMMIT; SELECT 4") == [
        ("transaction", ["SELECT 1", "SELECT 2"]),
        ("transaction", ["SELECT 3"]),
        ("transaction", ["SELECT 4"]),
    ]


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("BEGIN;\nSELECT 1", "BEGIN without COMMIT in m, line 1"),
        ("BEGIN;\nSELECT 1;\nROLLBACK", "ROLLBACK in m, line 3"),
        ("BEGIN; SELECT 1;\nCOMMIT AND CHAIN; COMMIT", "COMMIT AND CHAIN in m, line 2"),
        ("BEGIN;\nPREPARE TRANSACTION 'x'", "PREPARE TRANSACTION 'x' in m, line 2"),
        (
            "BEGIN;\nCREATE INDEX CONCURRENTLY i\nON t (a);\nCOMMIT",
            r"CREATE INDEX .* after the BEGIN of line 1 in m, line 2",
        ),
    ],
)
def test_transactions_that_cannot_be_kept_are_refused(script: str, found: str) -> None:
    """MG009 with the line, before anything is sent."""
    with pytest.raises(Misconfigured, match=f"MG009: found {found}"):
        units_of("m", split(script))


def test_a_digest_follows_from_what_is_sent() -> None:
    """Comments and places may change; statements and settings before them may not."""
    (plain,) = units_of("m", split("SELECT 1"))
    (moved,) = units_of("m", split("-- why\n\nSELECT 1"))
    (other,) = units_of("m", split("SELECT 2"))
    assert plain.digest == moved.digest != other.digest
    assert [unit.lines for unit in (plain, moved)] == ["line 1", "line 3"]
