"""How plans, progress, tables and errors look. Readable without colour; everything but data goes to stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from safepoint.errors import SafepointError
from safepoint.model.json_value import Json, JsonObject
from safepoint.model.measures import format_bytes
from safepoint.steps.execute import Progress
from safepoint.steps.journal import Entry, Event
from safepoint.steps.plan import Plan, Step, StepKind

talk = Console(stderr=True, highlight=False, soft_wrap=True)
data = Console(highlight=False, soft_wrap=True)

_PROGRESS_EVERY_SECONDS = 2.0


def print_json(value: Json) -> None:
    """One JSON value on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A plain table on stdout, as wide as its content."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False, width=max(data.width, 240)).print(table)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Name and value a line, on stdout."""
    pairs = list(facts)
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        data.print(Text.assemble((name.ljust(width), "bold"), "  ", value))


def show_plan(plan: Plan) -> None:
    """What will be done, in order, with the facts and warnings that come first."""
    talk.print(Text(plan.title, style="bold"))
    for name, value in plan.facts:
        talk.print(Text(f"  {name}: {value}"))
    for warning in plan.warnings:
        talk.print(Text(f"  warning: {warning}", style="yellow"))
    for number, step in enumerate(plan.steps, start=1):
        mark = " (gate)" if step.kind is StepKind.GATE else ""
        talk.print(Text(f"  {number:2d}. {step.title}{mark}"))


def show_error(error: SafepointError, *, is_json: bool) -> None:
    """The fact, whether anything was changed, and the hints, on stderr."""
    if is_json:
        sys.stderr.write(json.dumps(error_to_json(error)) + "\n")
        return
    talk.print(Text.assemble(("error ", "bold red"), (error.spec.code, "bold"), ": ", error.message))
    talk.print(Text(error.changed))
    if error.hints:
        talk.print()
    for hint in error.hints:
        talk.print(Text.assemble(("hint: ", "bold"), hint.text))


def error_to_json(error: SafepointError) -> dict[str, Json]:
    """The error as `--json` shows it."""
    return {
        "error": error.spec.code,
        "family": error.spec.family.value,
        "exit_code": int(error.spec.exit_code),
        "is_retryable": error.spec.is_retryable,
        "message": error.message,
        "changed": error.changed,
        "hints": [hint.text for hint in error.hints],
    }


def outcome_lines(outcome: JsonObject) -> list[tuple[str, str]]:
    """An outcome's plain values as facts, in its own order."""
    return [
        (name.replace("_", " "), _plain(value))
        for name, value in outcome.items()
        if isinstance(value, str | int | float | bool)
    ]


class Narrator:
    """An observer that tells each step on stderr as it ends, and progress every two seconds."""

    def __init__(self) -> None:
        self._began = 0.0
        self._told = 0.0

    def step_started(self, step: Step) -> None:
        """Starts the step's clock."""
        self._began = self._told = time.monotonic()
        if talk.is_terminal:
            talk.print(Text(f"… {step.title}", style="dim"), end="\r")

    def step_progressed(self, step: Step, progress: Progress) -> None:
        """Says how far the step is and when it should end."""
        now = time.monotonic()
        if now - self._told >= _PROGRESS_EVERY_SECONDS:
            self._told = now
            talk.print(Text(f"  … {step.title}: {_progress(progress, now - self._began)}", style="dim"))

    def step_ended(self, step: Step, entry: Entry) -> None:
        """Says how the step ended and how long it took."""
        mark = "✗" if entry.event is Event.FAILED else "✓"
        talk.print(Text(f"{mark} {step.title} ({entry.seconds or 0.0:.1f}s)"))


def _progress(progress: Progress, seconds: float) -> str:
    is_bytes = progress.unit == "bytes"
    done = format_bytes(progress.done) if is_bytes else f"{progress.done} {progress.unit}"
    rate = progress.done / max(seconds, 0.001)
    speed = f", {format_bytes(round(rate))}/s" if is_bytes else ""
    if not progress.total:
        return f"{done}{speed}"
    total = format_bytes(progress.total) if is_bytes else str(progress.total)
    left = max(progress.total - progress.done, 0) / rate if rate else 0.0
    return f"{done} of {total}{speed}, {left:.0f}s left"


def _plain(value: str | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
