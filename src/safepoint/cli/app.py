"""Every command of `safepoint`, in the order in which a newcomer meets them; each is imported when it is asked for."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from safepoint import __version__
from safepoint.cli.options import EXIT_STATUS

COMMANDS = ("init", "status", "backup", "backups", "verify", "restore", "wal", "migrate", "repository")
"""Each is the `app` of the module of its name in `safepoint.cli.commands`."""


class _Commands(TyperGroup):
    """The commands, imported one by one: what a restore stands on need not load before `--version` answers."""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS:
            return get_command(import_module(f"safepoint.cli.commands.{cmd_name}").app)
        if close := difflib.get_close_matches(cmd_name, COMMANDS, n=1):
            ctx.fail(f"No such command {cmd_name!r}. Did you mean {close[0]!r}?")
        return None


app = typer.Typer(
    name="safepoint",
    cls=_Commands,
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
