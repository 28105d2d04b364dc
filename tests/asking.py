"""Restores as they are asked for: planned from a wish, carried out, looked into, and gone."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import Connection

from backups import DATABASE, connected
from safepoint.repository import Repository
from safepoint.steps.execute import Silence
from safepoint.workflows.restore import Restore, Source, Wish, prepare


def asked(repository: Repository, into: Path, **wish: Any) -> Restore:
    """The restore planned."""
    return prepare(Source(repository=repository, database=DATABASE), Wish(**wish), into)


@contextmanager
def brought_back(repository: Repository, into: Path, major: int, **wish: Any) -> Generator[Connection[Any]]:
    """A connection to the copy, gone after the context."""
    asked(repository, into, **wish).execute(Silence())
    with connected(into, major) as connection:
        yield connection


def notes(connection: Connection[Any]) -> list[str]:
    """What the table of notes holds, in the order of writing."""
    return [str(row[0]) for row in connection.execute("SELECT note FROM notes ORDER BY id").fetchall()]
