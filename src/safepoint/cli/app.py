"""Every command of `safepoint`, in the order in which a newcomer meets them."""

from __future__ import annotations

from typing import Annotated

import typer

from safepoint import __version__
from safepoint.cli.commands.backup import backup, backups
from safepoint.cli.commands.init import init
from safepoint.cli.commands.migrate import migrate
from safepoint.cli.commands.restore import restore
from safepoint.cli.commands.status import status
from safepoint.cli.commands.verify import verify
from safepoint.cli.commands.wal import wal
from safepoint.cli.options import EXIT_STATUS

app = typer.Typer(
    name="safepoint",
    help="Changes, backs up and recovers a PostgreSQL database, and proves each before it is needed.",
    epilog=EXIT_STATUS,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"safepoint {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of safepoint itself."""
    del version


app.command("init", epilog=EXIT_STATUS)(init)
app.command("status", epilog=EXIT_STATUS)(status)
app.command("backup", epilog=EXIT_STATUS)(backup)
app.command("backups", epilog=EXIT_STATUS)(backups)
app.add_typer(wal, name="wal")
app.add_typer(migrate, name="migrate")
app.command("verify", epilog=EXIT_STATUS)(verify)
app.command("restore", epilog=EXIT_STATUS)(restore)
