"""Orders with their items, payments and reviews, a chunk at a time: the part of the generator that must be fast.

A chunk depends on the scale and its number alone, never on the chunks before it. Money is counted in cents:
the items of an order sum to its subtotal, subtotal + tax + shipping is its total, and its payment is for the total.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .customers import ids_of
from .ids import FOUR, mark_of, mix, time_word
from .instants import DAY, HOUR, MINUTE, SECOND, text_of
from .pricing import money, price_of
from .scale import CHUNK, DAYS

if TYPE_CHECKING:
    from .catalogue import Product
    from .scale import Scale

METHODS: Final = ("CARD", "CARD", "WALLET", "TRANSFER")
ORDER_METADATA: Final = tuple(
    f'{{"channel": "{channel}", "locale": "{locale}", "gift": {gift}}}'
    for channel in ("web", "app")
    for locale in ("de-DE", "nl-NL", "fr-FR", "en-GB")
    for gift in ("false", "false", "false", "true")
)
TITLES: Final = ("Would buy again", "As described", "Good value", "Arrived late")
CANCELLED_BELOW: Final = 8
RETURNED_BELOW: Final = 16
"""Of 256 orders, 8 are cancelled, and of the delivered ones as many again returned."""
_STREAM: Final = 51
_WORDS: Final = 3
_ORDER: Final = mark_of("Order")
_ITEM: Final = mark_of("OrderItem")
_PAYMENT: Final = mark_of("Payment")
_REVIEW: Final = mark_of("Review")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows in COPY's text format, to be loaded in the order of the fields."""

    orders: list[str] = field(default_factory=list[str])
    items: list[str] = field(default_factory=list[str])
    payments: list[str] = field(default_factory=list[str])
    reviews: list[str] = field(default_factory=list[str])


def chunk_of(scale: Scale, catalogue: list[Product], first: int) -> Chunk:
    """The orders numbered [first, first + CHUNK), as far as the scale has them; first is a multiple of CHUNK."""
    count = min(CHUNK, scale.orders - first)
    words = _words(mix(scale.seed, _STREAM, first), count)
    span = DAYS * DAY
    gap = max(1, span // scale.orders)
    chunk = Chunk()
    for place in range(count):
        number = first + place
        chance, shape, marks = words[place * _WORDS : place * _WORDS + _WORDS]
        created = scale.first_order + number * span // scale.orders + chance % gap
        _append_order(chunk, scale, catalogue, (number, created, shape, marks))
    return chunk


def _words(seed: int, count: int) -> tuple[int, ...]:
    """64-bit words from the Mersenne Twister, whose raw bits have not changed since Python 3.2."""
    size = 8 * _WORDS * count
    return struct.unpack(f"<{_WORDS * count}Q", random.Random(seed).getrandbits(8 * size).to_bytes(size, "little"))


def _append_order(chunk: Chunk, scale: Scale, catalogue: list[Product], draw: tuple[int, int, int, int]) -> None:
    number, created, shape, marks = draw
    user, address = ids_of(scale, shape % scale.users)
    time = time_word(created)
    order = time + FOUR[number & 0xFFFF] + _ORDER + FOUR[marks & 0xFFFF] + FOUR[(marks >> 16) & 0xFFFF]
    subtotal, first = _append_items(chunk.items, catalogue, (number, shape, marks), time, order)
    price = price_of(subtotal)
    total = money(price.total)
    status, paid, delay = _state(scale.end - created, shape >> 56)
    at = text_of(created)
    changed = text_of(min(scale.end - 1, created + delay + (shape >> 40 & 0xFFFF))) if delay else at
    chunk.orders.append(
        f"{order}\t{user}\t{address}\t{status}\t{money(subtotal)}\t{money(price.tax)}\t{money(price.shipping)}\t{total}\t{at}\t"
        f"{changed}\t{ORDER_METADATA[shape >> 32 & 31]}\tV-{number + 1:010d}\tEUR"
    )
    chunk.payments.append(_payment(order, (total, at, paid), created, marks))
    if status == "DELIVERED" and not marks & 0xF:
        chunk.reviews.append(_review(order, user, first, changed, marks))


def _append_items(
    items: list[str], catalogue: list[Product], draw: tuple[int, int, int], time: str, order: str
) -> tuple[int, Product]:
    """One to four lines for different products, popular ones more often; returns their sum and the first product."""
    number, shape, marks = draw
    size = len(catalogue)
    place = ((shape & 0xFFFF) * (shape >> 16 & 0xFFFF) * size) >> 32
    first = catalogue[place]
    subtotal = 0
    for line in range(1 + (shape >> 34 & 1) + (shape >> 36 & 1) + (shape >> 35 & shape >> 37 & 1)):
        product = catalogue[(place + line * 7) % size]
        quantity = 1 + (marks >> (20 + line) & marks >> (24 + line) & 1)
        cents = product.cents * quantity
        subtotal += cents
        row = FOUR[(number * 4 + line) & 0xFFFF] + _ITEM + FOUR[(marks >> 28) & 0xFFFF] + FOUR[(marks >> 44) & 0xFFFF]
        items.append(
            f"{time}{row}\t{order}\t{product.id}\t{product.name}\t{quantity}\t{money(product.cents)}\t{money(cents)}"
        )
    return subtotal, first


def _state(age: int, chance: int) -> tuple[str, str, int]:
    """Order status, payment status and how long after its creation the order last changed, by age and chance."""
    if age < 2 * HOUR:
        return "PENDING", "PENDING", 0
    if chance < CANCELLED_BELOW:
        return "CANCELLED", "FAILED", HOUR
    if age < DAY:
        return "PAID", "SUCCEEDED", 2 * MINUTE
    if age < 4 * DAY:
        return "SHIPPED", "SUCCEEDED", 20 * HOUR
    if chance < RETURNED_BELOW and age > 10 * DAY:
        return "RETURNED", "REFUNDED", 9 * DAY
    return "DELIVERED", "SUCCEEDED", 3 * DAY


def _payment(order: str, paid: tuple[str, str, str], created: int, marks: int) -> str:
    total, at, status = paid
    row = order[:13] + _PAYMENT + order[17:]
    changed = at if status == "PENDING" else text_of(created + 2 * SECOND + (marks >> 50 & 0xFFF))
    reference = f"pay_{row[1:]}" if status in {"SUCCEEDED", "REFUNDED"} else "\\N"
    metadata = f'{{"attempts": {1 + (marks >> 40 & 1)}, "ending": "{(marks >> 30) % 10_000:04d}"}}'
    return f"{row}\t{order}\t{METHODS[marks >> 60 & 3]}\t{status}\t{total}\t{at}\t{changed}\t{metadata}\t{reference}"


def _review(order: str, user: str, product: Product, at: str, marks: int) -> str:
    row = order[:13] + _REVIEW + order[17:]
    body = f"Generated review of {product.name}" if marks >> 61 else "\\N"
    return f"{row}\t{order}\t{product.id}\t{user}\t{2 + (marks >> 45 & 3)}\t{TITLES[marks >> 58 & 3]}\t{body}\t{at}"
