"""`safepoint backup`."""

from __future__ import annotations

from typing import Annotated

import typer

from safepoint.cli.carry_out import show_then_execute
from safepoint.cli.options import ConfigOption, DatabaseArgument, DryRunOption, JsonOption, command
from safepoint.cli.printable import line
from safepoint.cli.show import print_facts, print_json, talk
from safepoint.model.backup import BackupManifest, BackupSource
from safepoint.model.json_value import JsonObject
from safepoint.model.measures import format_bytes, format_count, format_instant
from safepoint.strategy.kinds import SIZE, size
from safepoint.workflows.back_up import BackupWish, prepare_backup
from safepoint.workflows.backup_words import backup_to_json
from safepoint.workflows.held import NOT_READ
from safepoint.workflows.project import load_project

_PAGES_SHOWN = 10


def _rate(text: str) -> int:
    try:
        return size(text.removesuffix("/s"))
    except ValueError:
        raise typer.BadParameter(f"found {text!r}, expected {SIZE}") from None


def backup(
    database: DatabaseArgument = None,
    tier: Annotated[
        str, typer.Option(metavar="NAME", help="The tier it is taken for: how long it is kept, and where.")
    ] = "daily",
    source: Annotated[
        BackupSource | None,
        typer.Option(
            help="Read the data directory, or let the server send it; by default its files, where they are in reach."
        ),
    ] = None,
    is_from_standby: Annotated[
        bool, typer.Option("--from-standby", help="Copy the strategy's `replica`, and spare the primary.")
    ] = False,
    rate_limit: Annotated[
        int | None,
        typer.Option(parser=_rate, metavar="SIZE", help="Read at most so much a second, like 100MB."),
    ] = None,
    spread: Annotated[
        bool, typer.Option("--spread", help="Let the server spread its checkpoint; slower, gentler.")
    ] = False,
    trusts_summaries: Annotated[
        bool,
        typer.Option(
            "--trust-summaries", help="Believe WAL summaries again, after one was found not to tell of a change."
        ),
    ] = False,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Take a physical backup of a database's whole cluster. Needs a repository.

    Damaged pages are named, and taken as they are: the backup is marked, and none is thrown away for them. A backup
    that is interrupted leaves what it stored to be found by the next one.
    """
    wish = BackupWish(
        source=source,
        is_from_standby=is_from_standby,
        is_spread=spread,
        rate_limit=rate_limit,
        trusts_summaries=trusts_summaries,
    )
    job = prepare_backup(load_project(config), database, tier, wish=wish)
    run = show_then_execute(job.plan, job.execute, is_dry_run=dry_run, is_json=is_json)
    if run is None:
        return
    taken = job.repository.backup(str(run.outcomes["commit"]["backup"]))
    warnings = _warnings(run.outcomes["copy"])
    _warn(taken, warnings)
    if is_json:
        print_json({**backup_to_json(taken, str(NOT_READ)), "warnings": list(warnings)})
        return
    facts = [
        ("backup", taken.id),
        ("restorable from", f"{format_instant(taken.stopped_at)}, {taken.stop_lsn} on timeline {taken.timeline}"),
        ("size", f"{format_bytes(taken.raw_bytes)}; added {format_bytes(taken.added_bytes)} to the repository"),
        ("source", f"{taken.source.value}{', of a standby' if taken.is_from_standby else ''}"),
        ("changes", f"{taken.detection.value}{f': {taken.detection_reason}' if taken.detection_reason else ''}"),
        ("proof", f"stored; read it back: `safepoint verify {taken.database}`"),
    ]
    print_facts(facts)


app = command(backup, "backup")


def _warnings(outcome: JsonObject) -> tuple[str, ...]:
    found = outcome.get("warnings")
    return tuple(map(str, found)) if isinstance(found, list | tuple) else ()


def _warn(taken: BackupManifest, warnings: tuple[str, ...]) -> None:
    """What is not as it should be, on stderr: damage first."""
    for page in taken.damaged_pages[:_PAGES_SHOWN]:
        talk.print(line(f"warning: damaged page: block {page.block} of {page.path}", style="bold red"))
    if taken.damaged_pages:
        count = format_count(len(taken.damaged_pages), "damaged page")
        talk.print(line(f"warning: {count} in the server, taken as they are: look at its disk", style="bold red"))
    for warning in warnings:
        talk.print(line(f"warning: {warning}", style="yellow"))
