"""`safepoint repository gc`."""

from __future__ import annotations

from typing import Annotated

import typer

from safepoint.cli.commands.repository_options import (
    FIRST_KEY,
    KeyOption,
    NameArgument,
    PlaceOption,
    carried_out,
    place_of,
)
from safepoint.cli.options import ConfigOption, DryRunOption, JsonOption
from safepoint.cli.show import print_facts, print_json, talk
from safepoint.errors import ExitCode
from safepoint.workflows.repository_gc import collected_to_json, describe_collected, prepare_gc


def gc(
    name: NameArgument = None,
    force: Annotated[bool, typer.Option("--force", help="End all leases first: writers lose their backup.")] = False,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Delete what no backup needs, beside writers at work.

    What they may still need waits for their leases. With --dry-run it says what would go and what waits for whom.
    With --force it ends all leases: their backups are void. Exits 3 when something refuses to go, does not open, or was
    put there by a stranger.
    """
    job = prepare_gc(place_of(name, repository, key, config), is_dry_run=dry_run, force=force)
    collected = carried_out(job, is_dry_run=False, is_json=is_json)
    assert collected is not None  # noqa: S101 - a dry run looks, too
    if is_json:
        print_json(collected_to_json(collected, job.repository))
    else:
        print_facts(describe_collected(collected, job.repository, is_dry_run=dry_run))
    if collected.waiting or collected.spared_packs:
        talk.print("hint: when a writer is dead: `safepoint repository unlock LEASE`; then collect again")
    if collected.strangers:
        talk.print("hint: who else can write to this store? what was passed over can be deleted by hand")
    if collected.undeletable or collected.unreadable or collected.strangers:
        raise typer.Exit(ExitCode.ATTENTION)
