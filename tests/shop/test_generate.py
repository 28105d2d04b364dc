"""What the generator promises: the same bytes for the same seed, and rows that belong together."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import Connection

from vivr_shop import digest, generate
from vivr_shop.ids import cuid, fresh_cuid, mark_of
from vivr_shop.instants import EPOCH, text_of
from vivr_shop.migrations import HISTORY
from vivr_shop.tables import NAMES

ORDERS = 4_500  # three chunks, the last one short
GOLDEN = "6952cbd1bb8baca7c68213dc91f3101448f5f38b21689a83ac84f1207fa16f9e"


@pytest.fixture(scope="module")
def shop(server: object, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A connection to a shop of seed 1, of which every test is free to look at everything."""
    url = _create(request, "shop_generated")
    with psycopg.connect(url) as connection:
        generate.fill(connection, orders=ORDERS)
        yield connection


def _create(request: pytest.FixtureRequest, name: str) -> str:
    server = request.getfixturevalue("server")
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE shop_template".encode())
    return server.url(name)


def _rows(shop: Connection, query: str) -> list[tuple[object, ...]]:
    return shop.execute(query.encode()).fetchall()


def _sum_of(digests: dict[str, str]) -> str:
    return hashlib.sha256(" ".join(digests.values()).encode()).hexdigest()


def test_a_seed_means_the_same_bytes_for_ever(shop: Connection) -> None:
    """The digest written here was made on Python 3.11; another version, or another hash seed, makes the same."""
    assert _sum_of(digest.digests(shop)) == GOLDEN


def test_another_process_with_another_hash_seed_generates_the_same(
    shop: Connection, new_shop: Callable[..., str]
) -> None:
    url = new_shop()
    environment = {"PYTHONPATH": str(HISTORY.parents[1]), "PYTHONHASHSEED": "77", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "vivr_shop", "fill", f"{url}&schema=public", "--orders", str(ORDERS)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    with psycopg.connect(url) as other:
        assert digest.digests(other) == digest.digests(shop)


def test_another_seed_is_another_shop(shop: Connection, new_shop: Callable[..., str]) -> None:
    with psycopg.connect(new_shop()) as other:
        generate.fill(other, orders=ORDERS, seed=2)
        seen = digest.digests(other)
    assert all(seen[table] != value for table, value in digest.digests(shop).items())


def test_an_ordinary_owner_fills_the_same_with_foreign_keys_checked(new_shop: Callable[..., str]) -> None:
    url = new_shop()
    with psycopg.connect(url) as shop:
        shop.execute("CREATE ROLE shopkeeper")
        shop.execute("GRANT pg_read_all_data, pg_write_all_data TO shopkeeper")
        for table in NAMES:
            shop.execute(f'ALTER TABLE "{table}" OWNER TO shopkeeper'.encode())
        shop.execute("SET ROLE shopkeeper")
        generate.fill(shop, orders=ORDERS)
        assert _sum_of(digest.digests(shop)) == GOLDEN


def test_the_counts_are_those_of_the_database(new_shop: Callable[..., str]) -> None:
    progress: list[int] = []
    with psycopg.connect(new_shop()) as shop:
        counts = generate.fill(shop, orders=ORDERS, progress=progress.append)
        found = {table: shop.execute(f'SELECT count(*) FROM "{table}"'.encode()).fetchone() for table in NAMES}
    assert {table: (number,) for table, number in counts.rows.items()} == found
    assert counts.orders == ORDERS
    assert progress == [2_000, 4_000, 4_500]


def test_every_foreign_key_holds(shop: Connection) -> None:
    """A constraint that is dropped and added again makes the server check every row."""
    keys = _rows(
        shop,
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f'",
    )
    assert len(keys) == 15
    with shop.transaction(force_rollback=True):
        for table, name, definition in keys:
            shop.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"'.encode())
            shop.execute(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}'.encode())


def test_money_adds_up(shop: Connection) -> None:
    """Items sum to the subtotal; with tax and shipping it is the total, for which there is one payment."""
    wrong = _rows(
        shop,
        """SELECT o."id" FROM "Order" o
        JOIN (SELECT "orderId", sum("total") AS items, bool_and("total" = "unitPrice" * "quantity") AS lines
              FROM "OrderItem" GROUP BY 1) i ON i."orderId" = o."id"
        JOIN (SELECT "orderId", sum("amount") AS paid, count(*) AS payments FROM "Payment" GROUP BY 1) p
          ON p."orderId" = o."id"
        WHERE NOT (i.lines AND o."subtotal" = items AND o."total" = items + o."tax" + o."shipping"
                   AND paid = o."total" AND payments = 1)""",
    )
    complete = _rows(shop, 'SELECT count(DISTINCT "orderId") FROM "OrderItem"')
    assert wrong == []
    assert complete == [(ORDERS,)]


def test_payment_and_order_agree(shop: Connection) -> None:
    seen = _rows(
        shop,
        'SELECT DISTINCT o."status"::text, p."status"::text FROM "Order" o JOIN "Payment" p ON p."orderId" = o."id"',
    )
    assert set(seen) == {
        ("PENDING", "PENDING"),
        ("PAID", "SUCCEEDED"),
        ("SHIPPED", "SUCCEEDED"),
        ("DELIVERED", "SUCCEEDED"),
        ("CANCELLED", "FAILED"),
        ("RETURNED", "REFUNDED"),
    }


def test_orders_lie_densely_in_the_ninety_days_before_the_end(shop: Connection) -> None:
    days = _rows(shop, 'SELECT "createdAt"::date, count(*) FROM "Order" GROUP BY 1 ORDER BY 1')
    assert len(days) == 90
    assert {count for _, count in days} == {ORDERS // 90}
    assert _rows(shop, 'SELECT max("createdAt") < \'2026-10-01\', min("updatedAt" - "createdAt") FROM "Order"') == [
        (True, timedelta(0))
    ]


def test_nothing_is_younger_than_the_end(shop: Connection) -> None:
    columns = _rows(
        shop,
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type LIKE 'timestamp%'",
    )
    for table, column in columns:
        assert _rows(shop, f'SELECT count(*) FROM "{table}" WHERE "{column}" >= \'2026-10-01\'') == [(0,)]


def test_ids_have_the_shape_of_a_cuid(shop: Connection) -> None:
    for table in NAMES:
        assert _rows(shop, f'SELECT count(*) FROM "{table}" WHERE "id" !~ \'^c[0-9a-z]{{24}}$\'') == [(0,)]


def test_a_shop_that_is_not_empty_is_refused(shop: Connection) -> None:
    with pytest.raises(ValueError, match="expected an empty shop; nothing was changed"):
        generate.fill(shop, orders=1)


@pytest.mark.parametrize("orders", [0, 1, 2_000])
def test_any_size_can_be_filled(new_shop: Callable[..., str], orders: int) -> None:
    with psycopg.connect(new_shop()) as shop:
        assert generate.fill(shop, orders=orders).orders == orders


def test_a_naive_end_is_refused(shop: Connection) -> None:
    with pytest.raises(ValueError, match="naive instant"):
        generate.fill(shop, orders=1, end=datetime(2026, 1, 1))  # noqa: DTZ001


def test_an_instant_reads_as_postgresql_writes_it() -> None:
    instant = datetime(2026, 2, 28, 23, 59, 59, 7_000, tzinfo=UTC)
    assert text_of((instant - EPOCH) // timedelta(milliseconds=1)) == "2026-02-28 23:59:59.007"


def test_generated_and_fresh_ids_do_not_repeat() -> None:
    """Rows of one millisecond differ by their serial, fresh ids by that and by chance."""
    same_instant = {cuid(1_780_000_000_000, serial, mark_of("Order"), 0) for serial in range(1 << 16)}
    fresh = {fresh_cuid() for _ in range(10_000)}
    assert len(same_instant) == 1 << 16
    assert len(fresh) == 10_000
    assert {len(text) for text in same_instant | fresh} == {25}
