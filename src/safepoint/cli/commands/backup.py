"""`safepoint backup` and `safepoint backups`."""

from __future__ import annotations

from typing import Annotated

import typer

from safepoint.cli.carry_out import show_then_execute
from safepoint.cli.options import ConfigOption, DatabaseArgument, DryRunOption, JsonOption
from safepoint.cli.show import data, print_facts, print_json, print_table
from safepoint.model.measures import format_bytes, format_instant
from safepoint.workflows.back_up import backup_to_json, prepare_backup, stored_bytes
from safepoint.workflows.held import NOT_READ, describe, holdings_of, proofs_of
from safepoint.workflows.project import load_project


def backup(
    database: DatabaseArgument = None,
    tier: Annotated[str, typer.Option(help="The tier it is taken for: how long it is kept, and where.")] = "daily",
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
        ("size", f"{format_bytes(taken.raw_bytes)}, stored in {format_bytes(stored_bytes(taken))}"),
        ("proof", f"stored; read it back: `safepoint verify {taken.database}`"),
    ]
    print_facts(facts)


def backups(
    database: DatabaseArgument = None,
    repository: Annotated[str | None, typer.Option(help="The repository, as the strategy file names it.")] = None,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """List the backups and the instants that can be restored. Needs a repository; works while the server is down."""
    project = load_project(config)
    name = project.strategy.database(database).name
    opened = project.repository(repository)
    held = holdings_of(opened, name)
    proofs = proofs_of(opened)
    level = {item.id: str(proofs.get(item.id, NOT_READ)) for item in held.backups}
    if is_json:
        listed = [backup_to_json(item, level[item.id]) for item in held.backups]
        print_json({"database": name, "backups": listed, "restorable": describe(held.coverage)})
        return
    rows = [
        (
            item.id,
            item.tier,
            format_instant(item.stopped_at),
            str(item.timeline),
            format_bytes(item.raw_bytes),
            format_bytes(stored_bytes(item)),
            level[item.id],
        )
        for item in held.backups
    ]
    print_table(("backup", "tier", "ended", "timeline", "size", "stored", "proof"), rows)
    data.print("\nrestorable:" if held.backups else "no backup yet")
    for line in describe(held.coverage):
        data.print(f"  {line}")
