"""How plans, tables and errors look. Readable without colour; everything but data goes to stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from safepoint.cli.printable import line, printable, shown
from safepoint.cli.typed import pasteable
from safepoint.errors import SafepointError
from safepoint.model.json_value import Json, JsonObject
from safepoint.steps.plan import Plan, StepKind


class _Stream(Console):
    """A console for people: what a terminal would obey is shown escaped, and the commands to paste are completed."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*map(_completed, objects), **options)


talk = _Stream(stderr=True, highlight=False, soft_wrap=True)
data = _Stream(highlight=False, soft_wrap=True)


def print_json(value: Json) -> None:
    """One JSON value on stdout; in ASCII, which every locale can carry."""
    _put(data, json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A plain table on stdout, as wide as its content: a terminal wraps its lines, nothing ever cuts them."""
    lines = [tuple(columns), *(tuple(map(printable, row)) for row in rows)]
    widths = [max(cell_len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for number, row in enumerate(lines):
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        data.print(line("  ".join(cells).rstrip(), style="" if number else "bold"))


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Name and value a line, on stdout."""
    pairs = list(facts)
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        data.print(line((name.ljust(width), "bold"), "  ", value))


def show_plan(plan: Plan) -> None:
    """What will be done, in order, with the facts and warnings that come first."""
    talk.print(line(plan.title, style="bold"))
    for name, value in plan.facts:
        talk.print(line(f"  {name}: {value}"))
    for warning in plan.warnings:
        talk.print(line(f"  warning: {warning}", style="yellow"))
    for number, step in enumerate(plan.steps, start=1):
        mark = " (gate)" if step.kind is StepKind.GATE else ""
        talk.print(line(f"  {number:2d}. {step.title}{mark}"))


def show_error(error: SafepointError, *, is_json: bool) -> None:
    """The fact, whether anything was changed, and the hints, on stderr; for programs one line."""
    if is_json:
        print_error_json(error_to_json(error))
        return
    talk.print(line(("error ", "bold red"), (error.spec.code, "bold"), ": ", error.message))
    talk.print(line(error.changed))
    if error.hints:
        talk.print()
    for hint in error.hints:
        talk.print(Text.assemble(("hint: ", "bold"), pasteable(line(hint.text), error.place)))


def print_error_json(value: Mapping[str, Json]) -> None:
    """How a command failed: one JSON object on a line of its own, the last on stderr."""
    _put(talk, json.dumps(value))


def error_to_json(error: SafepointError) -> dict[str, Json]:
    """The error as `--json` shows it."""
    return {
        "error": error.spec.code,
        "family": error.spec.family.value,
        "exit_code": int(error.spec.exit_code),
        "is_retryable": error.spec.is_retryable,
        "message": error.message,
        "changed": error.changed,
        "hints": [pasteable(Text(hint.text), error.place).plain for hint in error.hints],
    }


def outcome_lines(outcome: JsonObject) -> list[tuple[str, str]]:
    """An outcome's plain values as facts, in its own order."""
    return [
        (name.replace("_", " "), _plain(value))
        for name, value in outcome.items()
        if isinstance(value, str | int | float | bool)
    ]


def _put(console: Console, text: str) -> None:
    """Lines as they are: nothing in them is completed, escaped or wrapped."""
    console.file.write(f"{text}\n")
    console.file.flush()


def _plain(value: str | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _completed(content: Any) -> Any:
    text = shown(content)
    return pasteable(text, {}) if isinstance(text, Text) else text
