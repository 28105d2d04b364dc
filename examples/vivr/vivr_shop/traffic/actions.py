"""What a shopper does in one transaction. Nothing here commits: that is the moment the caller has to watch."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from psycopg.types.json import Jsonb

from vivr_shop.ids import fresh_cuid
from vivr_shop.pricing import money, price_of

if TYPE_CHECKING:
    import random

    from psycopg import Cursor

    from .statements import Statements

SAMPLE: Final = 400
"""So many customers and products are known to a shopper at a time."""

REMEMBERED: Final = 100
"""So many orders that still want paying, or reviewing, are remembered."""


class Product(NamedTuple):
    """A product as the shopper saw it."""

    id: str
    name: str
    cents: int


class Placed(NamedTuple):
    """An order that the server acknowledged, as far as it is needed to pay for it and to review it."""

    order: str
    payment: str
    user: str
    product: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a transaction will have changed once it is committed."""

    kind: str
    table: str
    ids: dict[str, list[str]]
    xid: int
    placed: Placed


def _few() -> deque[Placed]:
    return deque(maxlen=REMEMBERED)


@dataclass(slots=True, kw_only=True)
class Memory:
    """What one shopper has done so far, as far as it was acknowledged."""

    unpaid: deque[Placed] = field(default_factory=_few)
    paid: deque[Placed] = field(default_factory=_few)

    def keep(self, change: Change) -> None:
        """An acknowledged order can be paid, an acknowledged payment's order can be reviewed."""
        if change.kind == "order":
            self.unpaid.append(change.placed)
        elif change.kind == "payment":
            self.paid.append(change.placed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One connection's worth of shopping."""

    cursor: Cursor
    sql: Statements
    customers: list[tuple[str, str]]
    products: list[Product]
    memory: Memory
    dice: random.Random


def enter(cursor: Cursor, sql: Statements, memory: Memory, dice: random.Random) -> Visit:
    """A visit that knows some customers and products; LookupError for a shop without any."""
    customers = [(user, address) for user, address in cursor.execute(sql.customers, ("SHIPPING", SAMPLE)).fetchall()]
    products = [
        Product(row, name, int(price * 100))
        for row, name, price in cursor.execute(sql.products, ("ACTIVE", SAMPLE)).fetchall()
    ]
    if not customers or not products:
        raise LookupError(f"found {len(customers)} customers and {len(products)} products, expected a filled shop")
    return Visit(cursor=cursor, sql=sql, customers=customers, products=products, memory=memory, dice=dice)


def _now() -> datetime:
    now = datetime.now(UTC).replace(tzinfo=None)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _xid(cursor: Cursor) -> int:
    row = cursor.execute("SELECT pg_current_xact_id()::text").fetchone()
    return int(row[0]) if row else 0


def _ids(rows: list[tuple[Any, ...]]) -> list[str]:
    return [row[0] for row in rows]


def place_order(visit: Visit) -> Change:
    """An order with one to four items, less stock, and a payment that is pending."""
    user, address = visit.dice.choice(visit.customers)
    lines = [(product, visit.dice.randint(1, 2)) for product in visit.dice.sample(visit.products, _basket(visit))]
    price = price_of(sum(product.cents * quantity for product, quantity in lines))
    order, payment, now = fresh_cuid(), fresh_cuid(), _now()
    values = (
        order, user, address, "PENDING", money(price.subtotal), money(price.tax), money(price.shipping),
        money(price.total), now, now, Jsonb({"channel": "traffic"}), f"W-{order[1:]}", "EUR",
    )  # fmt: skip
    visit.cursor.execute(visit.sql.insert_order, values + _of_next_release(visit))
    items = [_insert_item(visit, order, product, quantity) for product, quantity in lines]
    stock = [inventory for product, quantity in sorted(lines) for inventory in _take(visit, product, quantity, now)]
    paying = (payment, order, "CARD", "PENDING", money(price.total), now, now, Jsonb({"attempts": 1}), None)
    visit.cursor.execute(visit.sql.insert_payment, paying)
    return Change(
        kind="order",
        table="Order",
        ids={"Order": [order], "OrderItem": items, "Payment": [payment], "Inventory": stock},
        xid=_xid(visit.cursor),
        placed=Placed(order, payment, user, lines[0][0].id),
    )


def _basket(visit: Visit) -> int:
    return min(visit.dice.randint(1, 4), len(visit.products))


def _of_next_release(visit: Visit) -> tuple[str | None, ...]:
    if visit.sql.browse_coupon is None:
        return ()
    note = visit.dice.choice(("With best wishes", None))
    return note, visit.dice.choice((_coupon(visit), None))


def _coupon(visit: Visit) -> str:
    return f"SAVE{visit.dice.randint(0, 99):02d}"


def _insert_item(visit: Visit, order: str, product: Product, quantity: int) -> str:
    item, cents = fresh_cuid(), product.cents
    values = (item, order, product.id, product.name, quantity, money(cents), money(cents * quantity))
    visit.cursor.execute(visit.sql.insert_item, values)
    return item


def _take(visit: Visit, product: Product, quantity: int, now: datetime) -> list[str]:
    """Stock may go below nothing: the shop takes back orders. Products are taken in order, so nobody deadlocks."""
    return _ids(visit.cursor.execute(visit.sql.take_from_stock, (quantity, now, product.id)).fetchall())


def pay(visit: Visit) -> Change | None:
    """The oldest unpaid order of this shopper is paid; None where there is none, or a restore has lost it."""
    if not visit.memory.unpaid:
        return None
    placed, now = visit.memory.unpaid.popleft(), _now()
    settled = ("SUCCEEDED", f"pay_{placed.payment[1:]}", now, placed.payment, "PENDING")
    payments = _ids(visit.cursor.execute(visit.sql.settle_payment, settled).fetchall())
    orders = _ids(visit.cursor.execute(visit.sql.settle_order, ("PAID", now, placed.order, "PENDING")).fetchall())
    if not payments or not orders:
        return None
    ids = {"Payment": payments, "Order": orders}
    return Change(kind="payment", table="Payment", ids=ids, xid=_xid(visit.cursor), placed=placed)


def review(visit: Visit) -> Change | None:
    """A product of this shopper's oldest paid order is reviewed; None where there is none."""
    if not visit.memory.paid:
        return None
    placed, row = visit.memory.paid.popleft(), fresh_cuid()
    rating = visit.dice.randint(1, 5)
    values = (row, placed.order, placed.product, placed.user, rating, "Written by traffic", None, _now())
    visit.cursor.execute(visit.sql.insert_review, values)
    return Change(kind="review", table="Review", ids={"Review": [row]}, xid=_xid(visit.cursor), placed=placed)


def browse(visit: Visit) -> None:
    """A page of products, a customer's newest orders, and for the new version the orders with a coupon, are read."""
    user, _ = visit.dice.choice(visit.customers)
    visit.cursor.execute(visit.sql.browse_orders, (user, 20)).fetchall()
    visit.cursor.execute(visit.sql.browse_products, ("ACTIVE", 20)).fetchall()
    if visit.sql.browse_coupon:
        visit.cursor.execute(visit.sql.browse_coupon, (_coupon(visit), 20)).fetchall()


ACTIONS: Final = (place_order, pay, browse, review)
WEIGHTS: Final = (4, 3, 2, 1)


def act(visit: Visit) -> Change | None:
    """One transaction's worth, chosen by the dice; None when nothing was changed, only read."""
    return visit.dice.choices(ACTIONS, WEIGHTS)[0](visit)
