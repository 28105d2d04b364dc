"""Users, their addresses and their carts: each row is computed from its number, so that none has to be remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .ids import FOUR, cuid, mark_of, mix, time_word
from .instants import DAY, HOUR, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .catalogue import Product
    from .scale import Scale

JOINING: Final = 365 * DAY
"""Customers joined evenly over so many milliseconds before the first order."""

COUNTRIES: Final = ("AT", "BE", "DE", "DK", "ES", "FR", "IT", "NL")
_STREAM: Final = 31
_USER: Final = mark_of("User")
_ADDRESS: Final = mark_of("Address")
_BILLING: Final = mark_of("BillingAddress")
_CART: Final = mark_of("Cart")
_CART_ITEM: Final = mark_of("CartItem")


def joined(scale: Scale, number: int) -> int:
    """When the number-th customer joined, in milliseconds since the epoch, before any order."""
    return scale.first_order - JOINING + number * JOINING // scale.users


def ids_of(scale: Scale, number: int) -> tuple[str, str]:
    """The number-th customer's user id and shipping address id."""
    bits = mix(scale.seed, _STREAM, number)
    head = time_word(joined(scale, number)) + FOUR[number & 0xFFFF]
    tail = FOUR[bits & 0xFFFF] + FOUR[(bits >> 16) & 0xFFFF]
    return head + _USER + tail, head + _ADDRESS + tail


def user_rows(scale: Scale) -> Iterator[str]:
    """One row a customer; the first is an administrator."""
    for number in range(scale.users):
        bits = mix(scale.seed, _STREAM + 1, number)
        user, _ = ids_of(scale, number)
        since = text_of(joined(scale, number))
        seen = text_of(scale.end - 1 - bits % (30 * DAY)) if bits >> 62 else "\\N"
        secret = "".join(FOUR[(bits >> shift) & 0xFFFF] for shift in (0, 16, 32, 48))
        yield (
            f"{user}\tshopper{number:08d}@shop.example\tShopper {number:08d}\tsynthetic${secret}\t"
            f"{'CUSTOMER' if number else 'ADMIN'}\t{since}\t{since}\t{seen}"
        )


def address_rows(scale: Scale) -> Iterator[str]:
    """A shipping address for every customer, a billing address for every fourth."""
    for number in range(scale.users):
        user, address = ids_of(scale, number)
        yield _address(scale, number, f"{address}\t{user}\tSHIPPING")
        if number % 4 == 0:
            billing = cuid(joined(scale, number), number, _BILLING, mix(scale.seed, _STREAM + 2, number))
            yield _address(scale, number, f"{billing}\t{user}\tBILLING")


def _address(scale: Scale, number: int, head: str) -> str:
    bits = mix(scale.seed, _STREAM + 3, number)
    since = text_of(joined(scale, number))
    line2 = f"Floor {bits >> 40 & 7}" if bits >> 63 else "\\N"
    return (
        f"{head}\t{1 + bits % 240} Sample Street\t{line2}\tTown {bits >> 8 & 0xFF}\t{10_000 + (bits >> 16) % 80_000}\t"
        f"{COUNTRIES[bits >> 60 & 7]}\t{since}\t{since}"
    )


def cart_rows(scale: Scale) -> Iterator[str]:
    """A cart for every tenth customer."""
    for number in range(scale.carts):
        cart, user, opened = _cart(scale, number)
        yield f"{cart}\t{user}\t{text_of(opened)}\t{text_of(opened)}"


def cart_item_rows(scale: Scale, catalogue: list[Product]) -> Iterator[str]:
    """One to three different products in every cart."""
    for number in range(scale.carts):
        cart, _, opened = _cart(scale, number)
        bits = mix(scale.seed, _STREAM + 5, number)
        for place in range(1 + bits % 3):
            row = cuid(opened, number * 3 + place, _CART_ITEM, bits >> 4)
            product = catalogue[((bits >> 32) + place) % len(catalogue)]
            yield f"{row}\t{cart}\t{product.id}\t{1 + (bits >> (8 + place) & 1)}\t{text_of(opened)}"


def _cart(scale: Scale, number: int) -> tuple[str, str, int]:
    bits = mix(scale.seed, _STREAM + 4, number)
    opened = scale.end - HOUR - bits % (20 * DAY)
    user, _ = ids_of(scale, number * 10)
    return cuid(opened, number, _CART, bits >> 20), user, opened
