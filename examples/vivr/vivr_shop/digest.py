"""One SHA-256 per table over its rows in the order of their ids: equal digests mean equal data, wherever it lies."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from .tables import COLUMNS

if TYPE_CHECKING:
    from psycopg import Connection


def digests(connection: Connection) -> dict[str, str]:
    """Table to digest, of the columns that the generator knows, in one snapshot where the caller's transaction is one.

    The physical order of rows, dead rows and later columns do not matter; every other byte does.
    """
    return {table: _digest(connection, table) for table in COLUMNS}


def _digest(connection: Connection, table: str) -> str:
    columns = ", ".join(f'"{column}"' for column in COLUMNS[table])
    query = f'COPY (SELECT {columns} FROM "public"."{table}" ORDER BY "id" COLLATE "C") TO STDOUT'
    digest = hashlib.sha256()
    with connection.cursor() as cursor, cursor.copy(query.encode()) as copy:
        for block in copy:
            digest.update(block)
    return digest.hexdigest()
