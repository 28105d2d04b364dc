"""How things are measured: in a process of their own, with files warm and nothing left to write back, by medians.

Seconds are those of the work itself: a task says where it begins and ends, so the interpreter's start and the opening
of the repository (its key is derived slowly on purpose) are not in them. Peak memory is the whole process's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

_CHILD_SECONDS = 1200
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one task took: wall and CPU seconds of its work, bytes of resident memory at the peak, and its own facts."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rounds of the same work, done by us and by others in turn; `theirs` in seconds."""

    ours: tuple[Outcome, ...]
    theirs: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """Our median."""
        return median(outcome.seconds for outcome in self.ours)

    @property
    def their_seconds(self) -> float:
        """Their median."""
        return median(self.theirs)

    @property
    def ratio(self) -> float:
        """How many times faster we are, median by median."""
        return self.their_seconds / self.seconds

    @property
    def cpu_seconds(self) -> float:
        """Our median of CPU seconds."""
        return median(outcome.cpu_seconds for outcome in self.ours)

    @property
    def peak_bytes(self) -> int:
        """The most memory that any of our rounds had."""
        return max(outcome.peak_bytes for outcome in self.ours)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Those of the last round."""
        return self.ours[-1].facts


def in_child(task: str, *, is_whole: bool = False, **arguments: object) -> Outcome:
    """What a task of `bench.child` took, in a fresh process; RuntimeError with its words when it fails.

    `is_whole`: seconds are the process's from its start to its end, as those of a command are.
    """
    settle()
    began = time.perf_counter()
    answer = subprocess.run(
        [sys.executable, "-m", "bench.child", task],
        input=json.dumps(arguments, default=str),
        capture_output=True,
        text=True,
        timeout=_CHILD_SECONDS,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    if answer.returncode != 0:
        raise RuntimeError(f"found exit code {answer.returncode} of task {task}, expected 0:\n{answer.stderr}")
    seconds = time.perf_counter() - began
    outcome = Outcome(**json.loads(answer.stdout))
    return replace(outcome, seconds=seconds) if is_whole else outcome


def compared(rounds: int, *, ours: Callable[[], Outcome], theirs: Callable[[], float]) -> Comparison:
    """Both so many times, in turn, theirs first."""
    pairs = [(theirs(), ours()) for _ in range(rounds)]
    return Comparison(ours=tuple(mine for _, mine in pairs), theirs=tuple(other for other, _ in pairs))


def warm(files: Iterable[Path]) -> None:
    """All of the files are in the page cache, as far as it holds them."""
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.read(_READ_BYTES):
                pass


def settle() -> None:
    """Nothing is left to be written back on behalf of what came before."""
    os.sync()
