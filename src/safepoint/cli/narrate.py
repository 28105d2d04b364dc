"""Telling a plan's progress on stderr, to a person and to a log alike: whole lines, at least one every two seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

from safepoint.cli.printable import line
from safepoint.cli.show import talk
from safepoint.model.measures import format_bytes
from safepoint.steps.execute import Observer, Progress
from safepoint.steps.journal import Entry, Event
from safepoint.steps.plan import Step

TELL_SECONDS = 2.0


@contextmanager
def narrated(every: float = TELL_SECONDS) -> Generator[Observer]:
    """An observer that tells each step as it ends and, every so many seconds, how far the one under way is.

    A thread does the latter, so that a step which reports nothing (a server starting, a checkpoint) is not silent.
    """
    narrator = _Narrator()
    over = threading.Event()

    def tell() -> None:
        while not over.wait(every):
            narrator.tell()

    thread = threading.Thread(target=tell, name="narrator", daemon=True)
    thread.start()
    try:
        yield narrator
    finally:
        over.set()
        thread.join()


class _Narrator:
    """Keeps what is under way, one value replaced whole: read by another thread than writes it."""

    def __init__(self) -> None:
        self._under_way: tuple[Step, float, Progress | None] | None = None

    def step_started(self, step: Step) -> None:
        """Starts the step's clock."""
        self._under_way = (step, time.monotonic(), None)

    def step_progressed(self, step: Step, progress: Progress) -> None:
        """Remembers how far the step is."""
        began = self._under_way[1] if self._under_way else time.monotonic()
        self._under_way = (step, began, progress)

    def step_ended(self, step: Step, entry: Entry) -> None:
        """Says how the step ended and how long it took."""
        self._under_way = None
        mark = "✗" if entry.event is Event.FAILED else "✓"
        talk.print(line(f"{mark} {step.title} ({entry.seconds or 0.0:.1f}s)"))

    def tell(self) -> None:
        """Says how far the step under way is, and when it should end."""
        if (now := self._under_way) is not None:
            step, began, progress = now
            seconds = time.monotonic() - began
            if seconds >= TELL_SECONDS / 2:
                talk.print(line(f"  … {step.title}: {progress_line(progress, seconds)}", style="dim"))


def progress_line(progress: Progress | None, seconds: float) -> str:
    """How much is done of how much, how fast, and the seconds left at that speed; the time alone where none is told."""
    if progress is None or not progress.done:
        return f"{seconds:.0f}s"
    is_bytes = progress.unit == "bytes"
    done = format_bytes(progress.done) if is_bytes else f"{progress.done} {progress.unit}"
    rate = progress.done / max(seconds, 0.001)
    speed = f", {format_bytes(round(rate))}/s" if is_bytes else f", {rate:.1f} {progress.unit}/s"
    if not progress.total:
        return f"{done}{speed}"
    total = format_bytes(progress.total) if is_bytes else str(progress.total)
    left = max(progress.total - progress.done, 0) / rate
    return f"{done} of {total}{speed}, {left:.0f}s left"
