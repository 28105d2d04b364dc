"""Writes docs/ERRORS.md from the error registry and docs/CLI.md from the commands' own help.

`python -m tools.generate_docs` writes both; a test compares them with what `pages` gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from safepoint.cli.app import app
from safepoint.errors import REGISTRY, ExitCode, Family, Spec

ROOT = Path(__file__).parents[1]
WIDTH = 80

_SECTIONS = {
    "SP": "Steps: plans, journals, gates",
    "CF": "Configuration: the strategy file and what it refers to",
    "PG": "PostgreSQL: binaries, clusters, connections",
    "ST": "Stores",
    "RP": "Repository",
    "BK": "Backup",
    "WL": "WAL",
    "RC": "Recovery",
    "MG": "Migration",
    "IN": "Internal",
}
_NEXT = {
    Family.REFUSED: "it would have been unsafe, or was decided otherwise: see the hints",
    Family.MISCONFIGURED: "mend the strategy file, the environment or a right",
    Family.UNREACHABLE: "a server, a store or a program did not answer: trying again may help",
    Family.DAMAGED: "data is proven wrong or missing",
    Family.BUG: "safepoint is at fault: report it",
}
_MEANING = {
    ExitCode.OK: "done",
    ExitCode.USAGE: "wrong usage",
    ExitCode.ATTENTION: "looked, and not everything is good",
    ExitCode.UNWRITTEN: "done, but what stdout should have said is lost, for it cannot be written (its disk is full)",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C or SIGTERM",
}


def pages() -> dict[Path, str]:
    """Each generated page with its text."""
    return {ROOT / "docs/ERRORS.md": errors_page(), ROOT / "docs/CLI.md": cli_page()}


def errors_page() -> str:
    """Exit codes, and every registered error by section."""
    return "\n".join(_errors_lines()) + "\n"


def cli_page() -> str:
    """The help of every command, as it is shown on a terminal of 80 columns."""
    return "\n".join(_cli_lines()) + "\n"


def commands() -> tuple[tuple[str, ...], ...]:
    """Every command and group of commands, as typed after `safepoint`; below a group its verbs, however deep."""
    return ((), *_below(get_command(app), ()))


def help_of(command: tuple[str, ...]) -> str:
    """What `--help` says."""
    return CliRunner().invoke(app, [*command, "--help"], prog_name="safepoint", env={"COLUMNS": str(WIDTH)}).stdout


def _below(group: Any, typed: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    context = group.make_context(None, [], resilient_parsing=True)
    for name in group.list_commands(context):
        command = (*typed, name)
        yield command
        found = group.get_command(context, name)
        if hasattr(found, "list_commands"):
            yield from _below(found, command)


def _errors_lines() -> Iterator[str]:
    yield "# Errors"
    yield ""
    yield "Generated from `safepoint.errors` by `make docs`. A code is never reused. Every error says what was found"
    yield "and what was expected, whether anything was changed, and what to do."
    yield ""
    yield "| exit code | family | what next |"
    yield "|---|---|---|"
    for code in ExitCode:
        families = [family for family in Family if Spec("", family, "").exit_code is code]
        name = families[0].value if families else ""
        yield f"| {int(code)} | {name} | {_NEXT[families[0]] if families else _MEANING[code]} |"
    for prefix, specs in groupby(REGISTRY, key=lambda spec: spec.code[:2]):
        yield f"\n## {_SECTIONS[prefix]}\n"
        yield "| code | family | what it says |"
        yield "|---|---|---|"
        for spec in specs:
            yield f"| {spec.code} | {spec.family.value} | {spec.title} |"


def _cli_lines() -> Iterator[str]:
    yield "# Commands"
    yield ""
    yield "Generated from the commands' own help by `make docs`. stdout is data, stderr is talk."
    for command in commands():
        title = " ".join(("safepoint", *command))
        yield f"\n## {title}\n\n```\n{help_of(command).strip()}\n```"


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text)
