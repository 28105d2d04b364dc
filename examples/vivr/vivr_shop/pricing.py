"""What an order costs, in cents: one rule for generated orders and for those that shoppers place."""

from __future__ import annotations

from typing import Final, NamedTuple

FREE_SHIPPING_FROM: Final = 5_000
SHIPPING: Final = 495
TAX_PERCENT: Final = 21


class Price(NamedTuple):
    """Cents; total is subtotal + tax + shipping."""

    subtotal: int
    tax: int
    shipping: int
    total: int


def price_of(subtotal: int) -> Price:
    """The price of an order whose lines sum to subtotal."""
    tax = (subtotal * TAX_PERCENT + 50) // 100
    shipping = 0 if subtotal >= FREE_SHIPPING_FROM else SHIPPING
    return Price(subtotal, tax, shipping, subtotal + tax + shipping)


def money(cents: int) -> str:
    """Cents as a DECIMAL(10,2)."""
    return f"{cents // 100}.{cents % 100:02d}"
