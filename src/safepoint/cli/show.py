"""How plans, tables and errors look. Readable without colour; everything but data goes to stderr."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from safepoint.errors import SafepointError
from safepoint.model.json_value import Json, JsonObject
from safepoint.steps.plan import Plan, StepKind


class _Stream(Console):
    """A console whose reader may go: what is left is dropped, and the command goes on to its true end."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


talk = _Stream(stderr=True, highlight=False, soft_wrap=True)
data = _Stream(highlight=False, soft_wrap=True)


def print_json(value: Json) -> None:
    """One JSON value on stdout; in ASCII, which every locale can carry."""
    data.out(json.dumps(value, indent=2), highlight=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A plain table on stdout, as wide as its content: a terminal wraps its lines, nothing ever cuts them."""
    lines = [tuple(columns), *(tuple(row) for row in rows)]
    widths = [max(cell_len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        data.print(Text("  ".join(cells).rstrip(), style="" if number else "bold"))


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
        talk.out(json.dumps(error_to_json(error)), highlight=False)
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


def _plain(value: str | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
