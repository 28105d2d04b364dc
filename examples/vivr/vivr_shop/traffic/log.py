"""The writer of the traffic's log: JSON lines, numbered without gaps, each given to the operating system at once.

A log belongs to one process. It begins with a `start` line and, when the traffic ended cleanly, has an `end` line last.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


def stamp(instant: datetime | None = None) -> str:
    """An instant, or now, as ISO 8601 in UTC with microseconds."""
    return (instant or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Log:
    """An append-only log. Safe to use from several threads; a line that cannot be written whole is an OSError."""

    def __init__(self, path: Path) -> None:
        """The file exists and holds the start line; FileExistsError when there was a file of that name."""
        self._lock = Lock()
        self._n = 0
        self._is_open = True
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        self.append({"kind": "start", "at": stamp(), "process": os.getpid()})

    def append(self, fields: dict[str, object]) -> None:
        """The line with the next number has reached the operating system: this process may die now."""
        with self._lock:
            if not self._is_open:
                raise OSError(f"the log was closed after line {self._n}")
            line = (json.dumps({"n": self._n + 1, **fields}) + "\n").encode()
            written = os.write(self._file, line)
            if written != len(line):
                raise OSError(f"wrote {written} of {len(line)} bytes of line {self._n + 1} of the log")
            self._n += 1

    def sync(self) -> None:
        """Every line so far is on disk."""
        os.fsync(self._file)

    def __enter__(self) -> Self:
        """The log itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """The log is on disk, ended if nothing went wrong, and closed."""
        if kind is None:
            self.append({"kind": "end", "at": stamp()})
        with self._lock:
            self._is_open = False
            self.sync()
            os.close(self._file)
