"""What is measured, each in a process of its own. A task gets its arguments and a stopwatch, and returns facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from bench.stopwatch import Stopwatch
from bench.tasks import reading, storing, wal

Task = Callable[[Mapping[str, Any], Stopwatch], Mapping[str, Any]]

TASKS: Final[Mapping[str, Task]] = {
    "days": storing.days,
    "each-file": storing.each_file,
    "ingest": storing.ingest,
    "ingest-changed": storing.ingest_changed,
    "random-reads": reading.random_reads,
    "restore": reading.restore,
    "restore-files": reading.restore_files,
    "restore-requests": reading.restore_requests,
    "wal-repository": wal.wal_repository,
}
