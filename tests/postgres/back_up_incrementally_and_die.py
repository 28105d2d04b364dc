"""An incremental backup that is killed at a moment: `URL DATA DIRECTORY SOURCE MOMENT`, in a process of its own.

The moment is `changing` (within the pages of a file), `end` (of the copy), `wal` or `commit`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from backups import actions_of, backup_plan, reopened
from safepoint.backup.sources.choice import Choice
from safepoint.backup.sources.files import FilesSource
from safepoint.backup.sources.stream import StreamSource
from safepoint.model.backup import BackupSource
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository import Ingest
from safepoint.steps.execute import execute
from safepoint.steps.journal import MemoryJournal

MANY_PAGES = 20


def die(*_: object) -> Any:
    """At once."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_among_pages() -> None:
    """Within the first file of which many pages changed."""
    inner = Ingest.changed_pages

    def changed_pages(ingest: Ingest, path: str, *, pages: Iterable[tuple[int, bytes]], **rest: Any) -> None:
        inner(ingest, path, pages=until_death(pages), **rest)

    Ingest.changed_pages = changed_pages  # type: ignore[method-assign]


def until_death(pages: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Some pages."""
    for seen, page in enumerate(pages):
        if seen == MANY_PAGES:
            die()
        yield page


def back_up(url: str, data: str, directory: str, source: str, moment: str) -> None:
    """Does not return."""
    if moment == "changing":
        die_among_pages()
    if moment == "end":
        FilesSource.end = StreamSource.end = die  # type: ignore[method-assign,assignment]
    choice = Choice(source=BackupSource(source), reason="a test", data=Path(data))
    plan = backup_plan("doomed", choice)
    with actions_of(DatabaseUrl.parse(url), reopened(Path(directory))) as inner:
        dies = {f"backup.{moment}": die} if moment in {"wal", "commit"} else {}
        execute(plan, actions={**inner, **dies}, journal=MemoryJournal())


if __name__ == "__main__":
    back_up(*sys.argv[1:])
