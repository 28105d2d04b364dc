"""Fills the migrated, empty shop: the same scale gives the same bytes in every row, at any size, in bounded memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from . import catalogue, customers
from .orders import Chunk, chunk_of
from .scale import CHUNK, Scale, scale_of
from .tables import NAMES, copy_statement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from psycopg import Connection, Cursor

    from .catalogue import Product

END: Final = datetime(2026, 10, 1, tzinfo=UTC)
"""The end of the ninety days, unless told otherwise: fixed, so that a seed means one shop for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Rows per table, as accepted by the server."""

    rows: dict[str, int]

    @property
    def orders(self) -> int:
        """Rows of "Order"."""
        return self.rows["Order"]

    @property
    def total(self) -> int:
        """Rows of all tables together."""
        return sum(self.rows.values())


def fill(
    connection: Connection,
    *,
    orders: int,
    seed: int = 1,
    end: datetime = END,
    progress: Callable[[int], None] | None = None,
) -> Counts:
    """The shop holds so many orders of the ninety days before end, with all that belongs to them, and is analyzed.

    One transaction: all of it or nothing. Progress is called with the number of orders sent so far, a chunk at a
    time. A superuser's fill does not make the server check foreign keys, which hold by construction and are proved
    by a test: checking them takes half of the time. ValueError for a shop that is not empty.
    """
    scale = scale_of(orders=orders, seed=seed, end=end)
    items = catalogue.products(scale)
    rows = dict.fromkeys(NAMES, 0)
    with connection.transaction(), connection.cursor() as cursor:
        _must_be_empty(cursor)
        trusted = _trust_foreign_keys(cursor)
        for table, lines in _before_orders(scale, items):
            rows[table] = sum(_copy(cursor, table, batch) for batch in _batches(lines))
        for chunk in _chunks(scale, items):
            for table, lines in _tables_of(chunk):
                rows[table] += _copy(cursor, table, lines)
            if progress:
                progress(rows["Order"])
        for table, lines in _after_orders(scale, items):
            rows[table] = sum(_copy(cursor, table, batch) for batch in _batches(lines))
        if trusted:
            cursor.execute("SET LOCAL session_replication_role = origin")
        for table in NAMES:
            cursor.execute(f'ANALYZE "public"."{table}"'.encode())
    return Counts(rows=rows)


def _must_be_empty(cursor: Cursor) -> None:
    for table in NAMES:
        if cursor.execute(f'SELECT 1 FROM "public"."{table}" LIMIT 1'.encode()).fetchone():
            raise ValueError(f'found rows in "{table}", expected an empty shop; nothing was changed')


def _trust_foreign_keys(cursor: Cursor) -> bool:
    """Whether the server takes foreign keys on trust from here on, which only a superuser may ask for."""
    is_superuser = cursor.execute("SELECT current_setting('is_superuser')").fetchone() == ("on",)
    if is_superuser:
        cursor.execute("SET LOCAL session_replication_role = replica")
    return is_superuser


def _before_orders(scale: Scale, items: list[Product]) -> Iterator[tuple[str, Iterable[str]]]:
    yield "User", customers.user_rows(scale)
    yield "Address", customers.address_rows(scale)
    yield "Category", catalogue.category_rows(scale)
    yield "Product", catalogue.product_rows(scale, items)
    yield "Inventory", catalogue.inventory_rows(scale, items)


def _tables_of(chunk: Chunk) -> Iterator[tuple[str, list[str]]]:
    yield "Order", chunk.orders
    yield "OrderItem", chunk.items
    yield "Payment", chunk.payments
    yield "Review", chunk.reviews


def _after_orders(scale: Scale, items: list[Product]) -> Iterator[tuple[str, Iterable[str]]]:
    yield "Cart", customers.cart_rows(scale)
    yield "CartItem", customers.cart_item_rows(scale, items)


def _chunks(scale: Scale, items: list[Product]) -> Iterator[Chunk]:
    """Every chunk in turn; the next one is generated while the server loads this one."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="vivr-generator") as generator:
        coming = None
        for first in range(0, scale.orders, CHUNK):
            ready, coming = coming, generator.submit(chunk_of, scale, items, first)
            if ready:
                yield ready.result()
        if coming:
            yield coming.result()


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(lines)
    while batch := list(islice(remaining, CHUNK)):
        yield batch


def _copy(cursor: Cursor, table: str, lines: list[str]) -> int:
    """So many rows are in the table when this returns."""
    if not lines:
        return 0
    with cursor.copy(copy_statement(table)) as copy:
        copy.write(("\n".join(lines) + "\n").encode())
    return cursor.rowcount
