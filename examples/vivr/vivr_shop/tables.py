"""The shop's tables, in the order in which foreign keys allow them to be filled, and their columns as generated.

Columns that are not listed take their default, or NULL: a table that a later release widens can still be filled.
"""

from __future__ import annotations

from typing import Final

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "User": ("id", "email", "name", "passwordHash", "role", "createdAt", "updatedAt", "lastSeenAt"),
    "Address": (
        "id", "userId", "kind", "line1", "line2", "city", "postalCode", "country", "createdAt", "updatedAt",
    ),
    "Category": ("id", "name", "slug", "createdAt", "parentId"),
    "Product": (
        "id", "sku", "slug", "name", "description", "price", "categoryId", "createdAt", "updatedAt", "metadata",
        "status",
    ),
    "Inventory": ("id", "productId", "quantity", "reorderAt", "updatedAt"),
    "Order": (
        "id", "userId", "shippingAddressId", "status", "subtotal", "tax", "shipping", "total", "createdAt",
        "updatedAt", "metadata", "orderNumber", "currency",
    ),
    "OrderItem": ("id", "orderId", "productId", "productName", "quantity", "unitPrice", "total"),
    "Payment": (
        "id", "orderId", "method", "status", "amount", "createdAt", "updatedAt", "metadata", "providerReference",
    ),
    "Review": ("id", "orderId", "productId", "userId", "rating", "title", "body", "createdAt"),
    "Cart": ("id", "userId", "createdAt", "updatedAt"),
    "CartItem": ("id", "cartId", "productId", "quantity", "createdAt"),
}  # fmt: skip
"""Table to generated columns."""

NAMES: Final = tuple(COLUMNS)


def copy_statement(table: str) -> bytes:
    """COPY in text format, with an explicit column list."""
    columns = ", ".join(f'"{column}"' for column in COLUMNS[table])
    return f'COPY "public"."{table}" ({columns}) FROM STDIN'.encode()
