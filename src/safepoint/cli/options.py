"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The strategy file; by default safepoint.toml here or in a folder above."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON value on stdout instead of text.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop: nothing is changed.")]
DatabaseArgument = Annotated[
    str | None, typer.Argument(help="The database, as the strategy file names it; may be left out when it names one.")
]

EXIT_STATUS = """
EXIT STATUS

0 done · 2 wrong usage · 3 looked, and not everything is good · 10 refused, nothing was changed · 11 misconfigured ·
12 unreachable, trying again may help · 13 data is damaged or missing · 70 a bug in safepoint · 130 interrupted
"""
