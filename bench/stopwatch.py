"""Wall and CPU seconds of a stretch of work."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(slots=True)
class Stopwatch:
    """A context around the work that is measured; CPU seconds are those of all threads, and of ended children."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def __enter__(self) -> Self:
        self.cpu_seconds = -_cpu_seconds()
        self.seconds = -time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.seconds += time.perf_counter()
        self.cpu_seconds += _cpu_seconds()


def _cpu_seconds() -> float:
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
