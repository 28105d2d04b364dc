"""The SQL of the application's two versions, with explicit column lists and RETURNING as Prisma's client writes it.

The old version has never heard of "giftNote" and "couponCode"; the new one writes and reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vivr_shop.tables import COLUMNS

NEXT_RELEASE: Final = ("giftNote", "couponCode")
"""The columns of "Order" that only the new version knows, in the order of its parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """Every statement of one version of the application."""

    version: str
    insert_order: bytes
    insert_item: bytes
    take_from_stock: bytes
    insert_payment: bytes
    settle_payment: bytes
    settle_order: bytes
    insert_review: bytes
    customers: bytes
    products: bytes
    browse_products: bytes
    browse_orders: bytes
    browse_coupon: bytes | None


def statements_of(version: str, *, order_columns: tuple[str, ...]) -> Statements:
    """The statements of a version that knows these columns of "Order"."""
    knows_coupons = "couponCode" in order_columns
    return Statements(
        version=version,
        insert_order=_insert("Order", order_columns),
        insert_item=_insert("OrderItem", COLUMNS["OrderItem"]),
        take_from_stock=_update("Inventory", '"quantity" = "quantity" - %s, "updatedAt" = %s', '"productId" = %s'),
        insert_payment=_insert("Payment", COLUMNS["Payment"]),
        settle_payment=_update(
            "Payment", '"status" = %s, "providerReference" = %s, "updatedAt" = %s', '"id" = %s AND "status" = %s'
        ),
        settle_order=_update("Order", '"status" = %s, "updatedAt" = %s', '"id" = %s AND "status" = %s'),
        insert_review=_insert("Review", COLUMNS["Review"]),
        customers=(
            b'SELECT "public"."Address"."userId", "public"."Address"."id" FROM "public"."Address"'
            b' WHERE "public"."Address"."kind" = %s ORDER BY "public"."Address"."id" LIMIT %s'
        ),
        products=_select("Product", ("id", "name", "price"), '"status" = %s ORDER BY "id" LIMIT %s'),
        browse_products=_select("Product", COLUMNS["Product"], '"status" = %s ORDER BY "name" LIMIT %s'),
        browse_orders=_select("Order", order_columns, '"userId" = %s ORDER BY "createdAt" DESC LIMIT %s'),
        browse_coupon=_select("Order", order_columns, '"couponCode" = %s LIMIT %s') if knows_coupons else None,
    )


def _listed(table: str, columns: tuple[str, ...]) -> str:
    return ", ".join(f'"public"."{table}"."{column}"' for column in columns)


def _insert(table: str, columns: tuple[str, ...]) -> bytes:
    names = ", ".join(f'"{column}"' for column in columns)
    values = ", ".join(["%s"] * len(columns))
    return f'INSERT INTO "public"."{table}" ({names}) VALUES ({values}) RETURNING {_listed(table, columns)}'.encode()


def _update(table: str, assignments: str, condition: str) -> bytes:
    returning = _listed(table, ("id",))
    return f'UPDATE "public"."{table}" SET {assignments} WHERE ({condition}) RETURNING {returning}'.encode()


def _select(table: str, columns: tuple[str, ...], condition: str) -> bytes:
    return f'SELECT {_listed(table, columns)} FROM "public"."{table}" WHERE {condition}'.encode()


OLD: Final = statements_of("old", order_columns=COLUMNS["Order"])
NEW: Final = statements_of("new", order_columns=COLUMNS["Order"] + NEXT_RELEASE)
VERSIONS: Final = {statements.version: statements for statements in (OLD, NEW)}
