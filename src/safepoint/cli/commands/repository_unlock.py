"""`safepoint repository unlock`."""

from __future__ import annotations

from typing import Annotated

import typer

from safepoint.cli.commands.repository_options import (
    FIRST_KEY,
    KeyOption,
    PlaceOption,
    carried_out,
    place_of,
)
from safepoint.cli.options import ConfigOption, DryRunOption, JsonOption
from safepoint.cli.show import data, print_facts, print_json
from safepoint.workflows.repository_unlock import prepare_unlock, unlocked_to_json


def unlock(
    lease: Annotated[
        str | None,
        typer.Argument(metavar="LEASE", help="The lease's id, or how it begins; by default the only one that is open."),
    ] = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="All leases of which nothing was heard for a day, or whose process is gone.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also a lease that was heard of within the hour.")] = False,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """End the lease of a writer that died.

    A collection need then not wait for it. A writer that lives after all loses its backup, and no other. Refused
    within an hour of its last sign of life, unless its process ran on this machine and is provably gone.
    """
    if stale and lease is not None:
        raise typer.BadParameter(f"found LEASE {lease!r} and --stale, expected one of both")
    place = place_of(None, repository, key, config)
    job = prepare_unlock(place, lease, stale=stale, force=force, is_dry_run=dry_run)
    unlocked = carried_out(job, is_dry_run=dry_run, is_json=is_json)
    if unlocked is None:
        return
    if is_json:
        print_json(unlocked_to_json(unlocked))
        return
    print_facts([("ended", each.id) for each in unlocked.revoked])
    print_facts([("was faster", f"{each.id} had {end}") for each, end in unlocked.too_late])
    if not unlocked.revoked and not unlocked.too_late:
        data.print("nothing to unlock")
