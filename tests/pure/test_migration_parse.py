"""Scripts become statements that know where they stand and what they refuse."""

from __future__ import annotations

import time

import pytest

from safepoint.errors import Misconfigured
from safepoint.postgres.parse import IndexTarget, TransactionControl, decode, split


def test_statements_are_found_in_order_with_their_places() -> None:
    """Offsets are characters, lines and columns count from 1, comments before a statement are not part of it."""
    text = "-- é\r\nSELECT 1;\r\n/* two\nlines */ INSERT INTO \"ü\" VALUES ('a;b'); ;\n"
    first, second = split(text)
    assert (first.kind, first.line, first.column, first.text) == ("SelectStmt", 2, 1, "SELECT 1")
    assert (second.kind, second.line, second.column) == ("InsertStmt", 4, 10)
    assert [text[statement.start : statement.end] for statement in (first, second)] == [first.text, second.text]


@pytest.mark.parametrize("text", ["", " \n", "-- nothing\n", "/* nothing */", ";;"])
def test_a_script_may_do_nothing(text: str) -> None:
    """Prisma accepts an empty migration."""
    assert split(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "CREATE INDEX CONCURRENTLY i ON t (a)",
        "DROP INDEX CONCURRENTLY IF EXISTS i",
        "REINDEX TABLE CONCURRENTLY t",
        "REINDEX (CONCURRENTLY, VERBOSE) INDEX i",
        "REINDEX SCHEMA public",
        "ALTER TABLE p DETACH PARTITION c CONCURRENTLY",
        "VACUUM t",
        "VACUUM FULL",
        "CREATE DATABASE d",
        "DROP DATABASE d",
        "ALTER DATABASE d SET TABLESPACE s",
        "CREATE TABLESPACE s LOCATION '/s'",
        "DROP TABLESPACE s",
        "ALTER SYSTEM SET work_mem = '1MB'",
        "CLUSTER",
        "DISCARD ALL",
        "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
        "DROP SUBSCRIPTION s",
        "DO $$ BEGIN UPDATE t SET a = 1; COMMIT; END $$",
    ],
)
def test_what_refuses_transactions_is_known(text: str) -> None:
    """Each of these fails inside a transaction block."""
    (statement,) = split(text)
    assert statement.cannot_run_in_transaction


@pytest.mark.parametrize(
    "text",
    [
        "CREATE INDEX i ON t (a)",
        "REINDEX TABLE t",
        "REINDEX (CONCURRENTLY false) TABLE t",
        "CLUSTER t USING i",
        "ANALYZE t",
        "ALTER TYPE t ADD VALUE 'x'",
        "ALTER DATABASE d SET work_mem = '1MB'",
        "ALTER TABLE p DETACH PARTITION c",
        "DISCARD TEMP",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
        "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = true, create_slot = false)",
        "DO $$ BEGIN -- COMMIT\n RAISE NOTICE 'ROLLBACK'; END $$",
    ],
)
def test_what_takes_transactions_is_not_sent_alone(text: str) -> None:
    """Alone it could not be rolled back, nor commit with its journal entry."""
    (statement,) = split(text)
    assert not statement.cannot_run_in_transaction


def test_a_concurrent_statement_names_its_index() -> None:
    """By that name the catalog is asked after a kill."""
    create, drop, nameless = split(
        'CREATE UNIQUE INDEX CONCURRENTLY "I" ON s.t (a); DROP INDEX CONCURRENTLY s.i;'
        "CREATE INDEX CONCURRENTLY ON t (a)"
    )
    assert create.index == IndexTarget(schema="s", name="I", table_schema="s", table="t", is_unique=True)
    assert drop.index == IndexTarget(schema="s", name="i")
    assert nameless.index is None
    assert nameless.is_concurrent


@pytest.mark.parametrize(
    ("text", "is_set", "is_local_set", "settings"),
    [
        ("SET work_mem = '1MB'", True, False, ("work_mem",)),
        ("SET ROLE r", True, False, ("role",)),
        ("RESET ALL", True, False, ("",)),
        ("SELECT pg_catalog.set_config('search_path', '', false)", True, False, ("search_path",)),
        ("SELECT set_config('search_path', '', true)", False, True, ("search_path",)),
        ("SET LOCAL work_mem = '1MB'", False, True, ("work_mem",)),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", False, True, ("TRANSACTION",)),
        ("SELECT set_config(a, b, false) FROM t", False, False, ()),
        ("SELECT lower('A', 'B', 'C')", False, False, ()),
        ("SELECT 1", False, False, ()),
    ],
)
def test_settings_are_told_from_statements(
    text: str, *, is_set: bool, is_local_set: bool, settings: tuple[str, ...]
) -> None:
    """What holds to the end of the session is told from what ends with the transaction."""
    (statement,) = split(text)
    assert (statement.is_set, statement.is_local_set, statement.settings) == (is_set, is_local_set, settings)


@pytest.mark.parametrize(
    ("text", "control"),
    [
        ("BEGIN", TransactionControl.BEGIN),
        ("START TRANSACTION READ ONLY", TransactionControl.BEGIN),
        ("END", TransactionControl.COMMIT),
        ("ABORT", TransactionControl.ROLLBACK),
        ("PREPARE TRANSACTION 'x'", TransactionControl.TWO_PHASE),
    ],
)
def test_transaction_control_is_known_by_any_name(text: str, control: TransactionControl) -> None:
    """BEGIN and START are one, so are COMMIT and END."""
    (statement,) = split(text)
    assert statement.control is control
    assert statement.is_transaction_control


def test_a_savepoint_stays_within_its_transaction() -> None:
    """It bounds no unit."""
    (statement,) = split("SAVEPOINT s")
    assert not statement.is_transaction_control


def test_a_mistake_is_told_with_its_place() -> None:
    """Line and column by characters, and PostgreSQL's own words."""
    with pytest.raises(Misconfigured, match=r'MG009: found syntax error at or near "y" in x, line 2, column 9'):
        split("SELECT 1;\nTABLE ü y", name="x")


@pytest.mark.parametrize(
    ("text", "command"),
    [("\\i other.sql", r"\\i"), ("SELECT 1;\n\\restrict abc", r"\\restrict"), ("\\.", r"\\\.")],
)
def test_psqls_own_commands_are_named(text: str, command: str) -> None:
    """The server knows none of them."""
    with pytest.raises(Misconfigured, match=f"MG009: found psql's command {command}"):
        split(text)


@pytest.mark.parametrize(("text", "found"), [("COPY t FROM STDIN", "FROM STDIN"), ("COPY t TO STDOUT", "TO STDOUT")])
def test_copy_through_the_client_is_refused(text: str, found: str) -> None:
    """There is no client that has the rows."""
    with pytest.raises(Misconfigured, match=f"MG009: found COPY {found} in script, line 1"):
        split(text)
    assert split("COPY t FROM '/tmp/rows'")


def test_a_byte_order_mark_is_no_syntax_error() -> None:
    """Windows editors leave one."""
    (statement,) = split(decode(b"\xef\xbb\xbfSELECT 1"))
    assert statement.text == "SELECT 1"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"SELECT 1;\nSELECT '\xe9'", "byte 0xe9 in script, line 2"),
        (b"SELECT 1;\n\n\0", "a zero byte in script, line 3"),
    ],
)
def test_what_is_not_text_is_refused_with_its_line(content: bytes, found: str) -> None:
    """A parser of C strings would silently stop at a zero byte."""
    with pytest.raises(Misconfigured, match=f"MG009: found {found}"):
        decode(content)


def test_a_long_script_is_read_in_time_that_grows_with_its_length() -> None:
    """50,000 statements: seconds, where counting every line from the beginning takes a minute and more."""
    text = "INSERT INTO a VALUES (1, 'some words');\n" * 50_000
    began = time.monotonic()
    last = split(text)[-1]
    assert (last.line, last.column) == (50_000, 1)
    assert time.monotonic() - began < 10
