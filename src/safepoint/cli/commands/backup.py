"""`safepoint backup`."""

from __future__ import annotations

from typing import Annotated

import typer

from safepoint.cli.carry_out import show_then_execute
from safepoint.cli.options import ConfigOption, DatabaseArgument, DryRunOption, JsonOption, command
from safepoint.cli.show import print_facts, print_json
from safepoint.model.measures import format_bytes, format_instant
from safepoint.workflows.back_up import backup_to_json, prepare_backup
from safepoint.workflows.held import NOT_READ
from safepoint.workflows.project import load_project


def backup(
    database: DatabaseArgument = None,
    tier: Annotated[
        str, typer.Option(metavar="NAME", help="The tier it is taken for: how long it is kept, and where.")
    ] = "daily",
    spread: Annotated[bool, typer.Option(help="Let the server spread its checkpoint; slower, gentler.")] = False,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Take a physical backup of a database's whole cluster. Needs a repository."""
    job = prepare_backup(load_project(config), database, tier, is_spread=spread)
    run = show_then_execute(job.plan, job.execute, is_dry_run=dry_run, is_json=is_json)
    if run is None:
        return
    taken = job.repository.backup(str(run.outcomes["commit"]["backup"]))
    if is_json:
        print_json(backup_to_json(taken, str(NOT_READ)))
        return
    facts = [
        ("backup", taken.id),
        ("restorable from", f"{format_instant(taken.stopped_at)}, {taken.stop_lsn} on timeline {taken.timeline}"),
        ("size", f"{format_bytes(taken.raw_bytes)}; added {format_bytes(taken.added_bytes)} to the repository"),
        ("proof", f"stored; read it back: `safepoint verify {taken.database}`"),
    ]
    print_facts(facts)


app = command(backup, "backup")
