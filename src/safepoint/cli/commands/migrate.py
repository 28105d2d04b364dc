"""`safepoint migrate status` and `safepoint migrate deploy`."""

from __future__ import annotations

from typing import Annotated

import typer

from safepoint.cli.carry_out import show_then_execute
from safepoint.cli.options import EXIT_STATUS, ConfigOption, DatabaseArgument, DryRunOption, JsonOption
from safepoint.cli.show import data, print_facts, print_json, print_table, talk
from safepoint.errors import ExitCode
from safepoint.migration.status import Migration, State
from safepoint.model.measures import format_instant
from safepoint.workflows.migrate import prepare_deploy, survey_migrations
from safepoint.workflows.project import load_project

app = typer.Typer(
    name="migrate",
    help="Migrations: an application's own files, under lock budgets.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

ApplicationOption = Annotated[
    str | None, typer.Option("--application", metavar="NAME", help="Whose migrations, as the strategy file names them.")
]


@app.command("status", epilog=EXIT_STATUS)
def status(
    database: DatabaseArgument = None,
    application: ApplicationOption = None,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Compare the migrations folder with the ledger. Needs no repository. Exits 3 when one failed or was edited."""
    found = survey_migrations(load_project(config), database, application)
    if is_json:
        print_json(found.to_json())
    else:
        print_table(("migration", "state", "applied"), [_row(item) for item in found.history.migrations])
        for warning in found.warnings:
            talk.print(f"warning: {warning}")
        pending = len(found.history.of(State.PENDING))
        data.print()
        data.print(f"{pending} pending" if pending else "nothing is pending")
    if found.history.of(State.FAILED) or found.history.of(State.EDITED):
        raise typer.Exit(ExitCode.ATTENTION)


@app.command("deploy", epilog=EXIT_STATUS)
def deploy(
    database: DatabaseArgument = None,
    application: ApplicationOption = None,
    without_backup: Annotated[
        str | None, typer.Option(metavar="REASON", help="Go without a backup; the reason is recorded.")
    ] = None,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Apply what is pending, each unit under lock_timeout with retries. Needs a repository, or --without-backup.

    Exits 0 when, and only when, every pending migration is applied. Run again after a kill, it goes on.
    """
    job = prepare_deploy(load_project(config), database, application, without_backup=without_backup)
    run = show_then_execute(job.plan, job.execute, is_dry_run=dry_run, is_json=is_json)
    if run is None:
        return
    if is_json:
        print_json({"plan": job.plan.id, "applied": list(job.migrations), "steps": dict(run.outcomes)})
    else:
        facts = [("applied", ", ".join(job.migrations) or "nothing was pending")]
        if job.safety is not None and (point := run.outcomes.get("gate", {}).get("restore_point")):
            of = f" {database}" if database else ""
            facts.append(("to go back", f"`safepoint restore{of} --to {point} --into DIR`"))
        print_facts(facts)


def _row(item: Migration) -> tuple[str, str, str]:
    finished = item.row.finished_at if item.row else None
    late = " (out of order)" if item.is_out_of_order else ""
    return item.name, item.state.value + late, format_instant(finished) if finished else ""
