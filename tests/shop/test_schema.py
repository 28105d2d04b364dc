"""The migration history is one that Prisma could have left, and the shop's tables are what it produces."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable

import psycopg
import pytest

from vivr_shop.migrations import HISTORY, NEXT_RELEASE, apply_migrations, files_of
from vivr_shop.tables import COLUMNS
from vivr_shop.traffic.statements import NEXT_RELEASE as NEW_COLUMNS
from vivr_shop.urls import without_prisma_parameters


def _columns(connection: psycopg.Connection) -> dict[str, set[str]]:
    rows = connection.execute(
        "SELECT table_name, array_agg(column_name::text) FROM information_schema.columns"
        " WHERE table_schema = 'public' GROUP BY 1"
    )
    return {table: set(columns) for table, columns in rows}


def test_migrations_are_named_and_ordered_as_prisma_does() -> None:
    names = [file.parent.name for file in [*files_of(HISTORY), *files_of(NEXT_RELEASE)]]
    assert names == sorted(names)
    assert all(re.fullmatch(r"20[0-9]{12}_[a-z_]+", name) for name in names)
    assert 'provider = "postgresql"' in (HISTORY / "migration_lock.toml").read_text()


def test_the_history_makes_the_generated_columns(new_shop: Callable[..., str]) -> None:
    with psycopg.connect(new_shop(), autocommit=True) as connection:
        assert _columns(connection) == {table: set(columns) for table, columns in COLUMNS.items()}


def test_the_next_release_adds_two_columns_and_an_index(new_shop: Callable[..., str]) -> None:
    with psycopg.connect(new_shop(is_filled=True), autocommit=True) as connection:
        names = apply_migrations(connection, NEXT_RELEASE)
        assert [name.split("_", 1)[1] for name in names] == ["add_gift_note", "add_coupon_code"]
        assert _columns(connection)["Order"] == {*COLUMNS["Order"], *NEW_COLUMNS}
        valid = connection.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = '\"Order_couponCode_idx\"'::regclass"
        )
        assert valid.fetchall() == [(True,)]


def test_the_next_schema_differs_by_the_next_release_alone() -> None:
    now = (HISTORY.parent / "schema.prisma").read_text().splitlines()
    coming = (NEXT_RELEASE / "schema.prisma").read_text().splitlines()
    changed = [line for line in difflib.ndiff(now, coming) if line[0] in "-+"]
    assert [line.split()[:2] for line in changed] == [
        ["+", "giftNote"],
        ["+", "couponCode"],
        ["+", "@@index([couponCode])"],
    ]


def test_a_deployer_that_opens_one_transaction_cannot_apply_the_next_release(new_shop: Callable[..., str]) -> None:
    script = files_of(NEXT_RELEASE)[1].read_text().encode()
    with psycopg.connect(new_shop(), autocommit=True) as connection, pytest.raises(psycopg.errors.ActiveSqlTransaction):
        connection.execute(script)


def test_a_folder_without_migrations_is_an_error(new_shop: Callable[..., str]) -> None:
    with psycopg.connect(new_shop(), autocommit=True) as connection, pytest.raises(FileNotFoundError):
        apply_migrations(connection, HISTORY.parent)


def test_prismas_parameters_are_taken_from_a_url() -> None:
    url = "postgresql://shop:s%40fe@db:5432/vivr?schema=public&pgbouncer=true&sslmode=require&connection_limit=5"
    assert without_prisma_parameters(url) == "postgresql://shop:s%40fe@db:5432/vivr?sslmode=require"
    assert without_prisma_parameters("host=db dbname=vivr") == "host=db dbname=vivr"
