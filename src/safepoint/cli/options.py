"""Options that several commands share, and what makes a function a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from safepoint.cli.typed import CONFIG, KEY, REPOSITORY, noted

FIRST_KEY = "env:SAFEPOINT_KEY"
"""Where a repository's key is kept unless that is said: `repository_location.DEFAULT_KEY`."""

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        callback=noted(CONFIG),
        help="The strategy file; by default safepoint.toml here or in a folder above.",
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="One JSON value on stdout instead of text; an error is one, too: stderr's last line."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop: nothing is changed.")]
DatabaseArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="DATABASE", help="The database, as the strategy file names it; may be left out when it names one."
    ),
]
RepositoryOption = Annotated[
    str | None,
    typer.Option(
        REPOSITORY,
        metavar="NAME",
        callback=noted(REPOSITORY),
        help="The repository, as the strategy file names it; by default its first.",
    ),
]
PlaceOption = Annotated[
    str | None,
    typer.Option(
        REPOSITORY,
        metavar="NAME|URL",
        callback=noted(REPOSITORY),
        help="The repository's name; or its URL, as file:/srv/backups: then no strategy file is needed.",
    ),
]
KeyOption = Annotated[
    str,
    typer.Option(
        KEY,
        metavar="REFERENCE",
        callback=noted(KEY, FIRST_KEY),
        help="With a repository's URL: where its key is kept, or `none`.",
    ),
]
RepositoryArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        callback=noted(REPOSITORY),
        help="The repository, as the strategy file names it; by default its first.",
    ),
]
AllowWeakOption = Annotated[
    bool,
    typer.Option(
        "--allow-weak-key",
        help="Take a passphrase that is easy to guess: of fewer than 8 characters, where a run, a repeat or a common "
        "word counts as one.",
    ),
]

RECOVERY_HINT = "hint: print a recovery key and lock it up: `safepoint repository key add --recovery`"

EXIT_STATUS = """
EXIT STATUS

0 done · 2 wrong usage · 3 looked, and not everything is good · 10 refused · 11 misconfigured ·
12 unreachable, trying again may help · 13 data is damaged or missing · 70 a bug in safepoint ·
74 done, but what stdout should have said is lost (its disk is full) · 130 interrupted
"""


def command(function: Callable[..., None], name: str) -> typer.Typer:
    """The function as the one command of an app."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, epilog=EXIT_STATUS)(function)
    return app
