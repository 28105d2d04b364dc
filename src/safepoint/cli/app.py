"""Every command of `safepoint`, in the order in which a newcomer meets them; each is imported when it is asked for."""

from __future__ import annotations

from typing import Annotated

import typer

from safepoint import __version__
from safepoint.cli.lazy import Verb, group_of
from safepoint.cli.options import EXIT_STATUS

COMMANDS = (
    Verb(name="init", line="Write safepoint.toml; what can be found out is not asked.", module="init"),
    Verb(name="status", line="Say what is proven, what is wrong and what is unknown.", module="status"),
    Verb(name="backup", line="Take a physical backup of a database's whole cluster.", module="backup"),
    Verb(name="backups", line="List the backups and the instants that can be restored.", module="backups"),
    Verb(
        name="coverage",
        line="Say what can be restored, from which backup and how fast; and what cannot, and why.",
        module="coverage",
    ),
    Verb(name="verify", line="Read a backup back whole and compare every byte.", module="verify"),
    Verb(name="restore", line="Restore a cluster to an exact instant, start it, prove it.", module="restore"),
    Verb(name="wal", line="Write-ahead log: streamed into the repository.", module="wal"),
    Verb(name="migrate", line="Migrations: an application's own files, under lock budgets.", module="migrate"),
    Verb(name="repository", line="Repositories: where backups and WAL are kept.", module="repository"),
)

app = typer.Typer(
    name="safepoint",
    cls=group_of(COMMANDS),
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
