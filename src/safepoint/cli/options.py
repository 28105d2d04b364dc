"""Options that several commands share, and what makes a function a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The strategy file; by default safepoint.toml here or in a folder above.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON value on stdout instead of text.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop: nothing is changed.")]
DatabaseArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="DATABASE", help="The database, as the strategy file names it; may be left out when it names one."
    ),
]
RepositoryOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The repository, as the strategy file names it; by default its first."),
]

EXIT_STATUS = """
EXIT STATUS

0 done · 2 wrong usage · 3 looked, and not everything is good · 10 refused · 11 misconfigured ·
12 unreachable, trying again may help · 13 data is damaged or missing · 70 a bug in safepoint · 130 interrupted
"""


def command(function: Callable[..., None], name: str) -> typer.Typer:
    """The function as the one command of an app."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, epilog=EXIT_STATUS)(function)
    return app
