"""`safepoint repository init`."""

from __future__ import annotations

from typing import Annotated

import typer

from safepoint.cli.carry_out import show_then_execute
from safepoint.cli.options import EXIT_STATUS, ConfigOption, DryRunOption, JsonOption
from safepoint.cli.show import outcome_lines, print_facts, print_json
from safepoint.workflows.project import load_project
from safepoint.workflows.repositories import prepare_creation

app = typer.Typer(name="repository", no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def repository() -> None:
    """Repositories: where backups and WAL are kept."""


@app.command("init", epilog=EXIT_STATUS)
def init(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The repository, as the strategy file names it; by default its first."),
    ] = None,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Make a repository that the strategy file names, or open the one that is there. Needs no server."""
    job = prepare_creation(load_project(config), name)
    run = show_then_execute(job.plan, job.execute, is_dry_run=dry_run, is_json=is_json)
    if run is None:
        return
    outcome = run.outcomes["create"]
    if is_json:
        print_json(dict(outcome))
    else:
        print_facts(outcome_lines(outcome))
