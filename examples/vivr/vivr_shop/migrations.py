"""Applies a folder of Prisma migrations plainly, without a ledger: for benchmarks and tests that need no safepoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

HISTORY: Final = Path(__file__).resolve().parents[1] / "prisma" / "migrations"
NEXT_RELEASE: Final = Path(__file__).resolve().parents[1] / "next_release"


def files_of(folder: Path) -> list[Path]:
    """Every migration.sql below the folder, in the order of their names; FileNotFoundError when there is none."""
    found = sorted(folder.glob("*/migration.sql"))
    if not found:
        raise FileNotFoundError(f"found no migration in {folder}, expected folders with a migration.sql")
    return found


def apply_migrations(connection: Connection, folder: Path = HISTORY) -> list[str]:
    """The folder's migrations are applied, in order; returns their names.

    Each is a transaction of its own, or one for every statement where CONCURRENTLY is among them.
    ValueError for a connection that opens transactions itself.
    """
    if not connection.autocommit:
        raise ValueError("found a connection that opens transactions, expected one in autocommit mode")
    files = files_of(folder)
    for file in files:
        for unit in _units(file.read_text(encoding="utf-8")):
            connection.execute(unit.encode())
    return [file.parent.name for file in files]


def _units(script: str) -> Iterator[str]:
    """The script as one unit, which the server runs as one transaction, or its statements where it must not.

    Statements end with a semicolon at the end of a line: true of the files of this shop, not of SQL.
    """
    if "CONCURRENTLY" not in script:
        yield script
        return
    for statement in script.split(";\n"):
        if statement.strip():
            yield statement
