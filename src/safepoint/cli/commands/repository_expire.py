"""`safepoint repository expire`."""

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
from safepoint.cli.show import print_facts, print_json
from safepoint.workflows.repository_expire import expired_to_json, prepare_expiry


def expire(
    backup: Annotated[
        str,
        typer.Argument(metavar="BACKUP", help="The backup's id, or the name of a manifest that does not open."),
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever looks for it later.")] = ...,  # type: ignore[assignment]
    force: Annotated[bool, typer.Option("--force", help="Also the newest proven backup of its database.")] = False,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Give a backup up, for good. The next `gc` frees what only it needed.

    Refused for the newest proven backup of a database.
    """
    if not reason.strip():
        raise typer.BadParameter(f"found {reason!r}, expected a reason in words", param_hint="--reason")
    job = prepare_expiry(place_of(None, repository, key, config), backup, reason=reason, force=force)
    expired = carried_out(job, is_dry_run=dry_run, is_json=is_json)
    if expired is None:
        return
    if is_json:
        print_json(expired_to_json(expired))
    else:
        print_facts([("expired", expired.backup), ("free what only it needed", "`safepoint repository gc`")])
