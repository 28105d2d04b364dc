"""`safepoint repository acknowledge`."""

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
from safepoint.workflows.repository_acknowledge import acknowledged_to_json, prepare_acknowledgement


def acknowledge(
    findings: Annotated[
        list[str], typer.Argument(metavar="FINDING...", help="As `check` names them, or how their names begin.")
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="What they are, for whoever looks later.")] = ...,  # type: ignore[assignment]
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who says so; by default this user and host.")] = None,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Say in the journal that somebody has looked at these findings of it.

    `check` names them from then on as acknowledged, by whom and why, and they are no alarms any more. Nothing else
    becomes quiet by it: an entry that goes missing later is another finding.
    """
    if not reason.strip():
        raise typer.BadParameter(f"found {reason!r}, expected a reason in words", param_hint="--reason")
    job = prepare_acknowledgement(place_of(None, repository, key, config), findings, reason=reason, by=by)
    done = carried_out(job, is_dry_run=dry_run, is_json=is_json)
    if done is None:
        return
    if is_json:
        print_json(acknowledged_to_json(done))
    else:
        print_facts([("acknowledged", f"{each.identity[:12]}: {each.text}") for each in done.findings])
