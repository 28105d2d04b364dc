"""`safepoint backups`."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from safepoint.cli.options import ConfigOption, DatabaseArgument, JsonOption, RepositoryOption, command
from safepoint.cli.show import data, print_json, print_table, talk
from safepoint.errors import ExitCode
from safepoint.model.measures import format_bytes, format_instant
from safepoint.workflows.back_up import backup_to_json
from safepoint.workflows.held import NOT_READ, Holdings, coverage_to_json, describe, holdings_of, proofs_of
from safepoint.workflows.project import load_project


def backups(
    database: DatabaseArgument = None,
    repository: RepositoryOption = None,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """List the backups and the instants that can be restored. Exits 3 when a manifest does not open.

    Needs a repository; works while the server is down.
    """
    project = load_project(config)
    name = project.strategy.database(database).name
    opened = project.repository(repository)
    held = holdings_of(opened, name)
    proofs = proofs_of(opened)
    level = {item.id: str(proofs.get(item.id, NOT_READ)) for item in held.backups}
    if is_json:
        listed = [backup_to_json(item, level[item.id]) for item in held.backups]
        coverage = coverage_to_json(held.coverage)
        print_json({"database": name, "backups": listed, "unreadable": list(held.unreadable), **coverage})
    else:
        _print(held, level)
    if held.unreadable:
        raise typer.Exit(ExitCode.ATTENTION)


def _print(held: Holdings, level: Mapping[str, str]) -> None:
    rows = [
        (
            item.id,
            item.tier,
            format_instant(item.stopped_at),
            str(item.timeline),
            format_bytes(item.raw_bytes),
            format_bytes(item.added_bytes),
            level[item.id],
        )
        for item in held.backups
    ]
    print_table(("backup", "tier", "ended", "timeline", "size", "added", "proof"), rows)
    for unreadable in held.unreadable:
        talk.print(f"warning: {unreadable} does not open: whose backup it is cannot be said")
    data.print("\nrestorable:" if held.backups else "no backup yet")
    for line in describe(held.coverage):
        data.print(f"  {line}")


app = command(backups, "backups")
