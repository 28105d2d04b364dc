"""safepoint, with SIGINT sent to itself at a moment of a step: `STEP MOMENT TIMES ARGUMENT…`.

Moments: `progressed` (in the midst of its action), `ended` (its action is over and recorded); `started` comes when its
start is recorded. With TIMES 2 a second SIGINT comes while the first is being tidied up after.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from safepoint.cli import carry_out, main, narrate
from safepoint.postgres.cluster import stop
from safepoint.recovery import directory, replay
from safepoint.steps.execute import Observer, Progress
from safepoint.steps.journal import Entry
from safepoint.steps.plan import Step


def interrupt() -> None:
    """As Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


class Interrupting:
    """An observer that tells another, and interrupts at the moment."""

    def __init__(self, told: Observer, step: str, moment: str) -> None:
        self._told = told
        self._at = (step, moment)

    def step_started(self, step: Step) -> None:
        """`started`."""
        self._told.step_started(step)
        self._interrupt_at(step, "started")

    def step_progressed(self, step: Step, progress: Progress) -> None:
        """`progressed`."""
        self._told.step_progressed(step, progress)
        self._interrupt_at(step, "progressed")

    def step_ended(self, step: Step, entry: Entry) -> None:
        """`ended`."""
        self._told.step_ended(step, entry)
        self._interrupt_at(step, "ended")

    def _interrupt_at(self, step: Step, moment: str) -> None:
        if (step.name, moment) == self._at:
            interrupt()


def interrupt_at(step: str, moment: str, times: str) -> None:
    """From now on."""

    @contextmanager
    def interrupting() -> Generator[Observer]:
        with narrate.narrated() as narrator:
            yield Interrupting(narrator, step, moment)

    def impatient(*arguments: Any, **options: Any) -> None:
        interrupt()
        stop(*arguments, **options)

    carry_out.narrated = interrupting
    if times == "2":
        directory.stop = replay.stop = impatient


if __name__ == "__main__":
    interrupt_at(*sys.argv[1:4])
    sys.argv[1:4] = []
    main()
