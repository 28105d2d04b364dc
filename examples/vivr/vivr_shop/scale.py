"""How large a shop is, decided from its number of orders and its seed: what all generators share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .instants import DAY, milliseconds_of

if TYPE_CHECKING:
    from datetime import datetime

DAYS: Final = 90
"""Orders spread evenly over so many days before the end."""

CHUNK: Final = 2_000
"""Rows generated, held and sent at a time. Part of what a seed means: changing it changes the data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One shop to generate: everything else about it follows from these three."""

    orders: int
    seed: int
    end: int
    """Milliseconds since the epoch; no row is younger."""

    @property
    def first_order(self) -> int:
        """The instant of the first order, in milliseconds since the epoch."""
        return self.end - DAYS * DAY

    @property
    def users(self) -> int:
        """Four orders a customer on average, and at least twenty customers."""
        return max(20, self.orders // 4)

    @property
    def products(self) -> int:
        """Between 60 and 5,000: a larger shop sells more of the same."""
        return min(5_000, max(60, self.orders // 200))

    @property
    def carts(self) -> int:
        """Every tenth customer has a cart."""
        return self.users // 10


def scale_of(*, orders: int, seed: int, end: datetime) -> Scale:
    """The scale of a shop; ValueError for a negative number of orders or seed, or a naive end."""
    if orders < 0 or seed < 0:
        raise ValueError(f"found {orders} orders and seed {seed}, expected neither to be negative")
    return Scale(orders=orders, seed=seed, end=milliseconds_of(end))
