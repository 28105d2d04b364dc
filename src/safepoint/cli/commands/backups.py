"""`safepoint backups`."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from safepoint.cli.options import (
    FIRST_KEY,
    ConfigOption,
    DatabaseArgument,
    JsonOption,
    KeyOption,
    PlaceOption,
    command,
)
from safepoint.cli.printable import line
from safepoint.cli.show import data, print_json, print_table, talk
from safepoint.errors import ExitCode
from safepoint.model.measures import format_bytes, format_count, format_instant
from safepoint.repository import Repository
from safepoint.workflows.backup_words import backup_to_json
from safepoint.workflows.held import (
    NOT_READ,
    Holdings,
    coverage_to_json,
    databases_in,
    describe,
    holdings_of,
    only_database,
    proofs_of,
)
from safepoint.workflows.project import load_project
from safepoint.workflows.repository_location import is_url, located_at


def backups(
    database: DatabaseArgument = None,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """List the backups and the instants that can be restored. Exits 3 when a manifest does not open.

    Needs a repository; works while the server is down.
    """
    if repository is not None and is_url(repository):
        opened = located_at(repository, key).open()
        name = _named(opened, database, repository)
    else:
        project = load_project(config)
        opened, name = project.repository(repository), project.strategy.database(database).name
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


def _named(repository: Repository, database: str | None, url: str) -> str:
    """The database meant; of an empty repository any, which then has no backups."""
    if database is None and not databases_in(repository):
        return ""
    return only_database(repository, database, url, f"safepoint backups {{}} --repository {url}")


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
    for item in held.backups:
        if item.damaged_pages:
            count = format_count(len(item.damaged_pages), "page")
            first = item.damaged_pages[0]
            text = f"warning: {item.id} holds {count} damaged in the server: block {first.block} of {first.path}, …"
            talk.print(line(text, style="yellow"))
    if held.backups:
        data.print()
    data.print("restorable:" if held.backups else "no backup yet")
    for text in describe(held.coverage):
        data.print(f"  {text}")


app = command(backups, "backups")
