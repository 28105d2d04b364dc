"""`safepoint repository verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from safepoint.cli.commands.repository_findings import end_with, print_findings, verdict
from safepoint.cli.commands.repository_options import (
    FIRST_KEY,
    KeyOption,
    NameArgument,
    PlaceOption,
    carried_out,
    place_of,
)
from safepoint.cli.options import ConfigOption, DryRunOption, JsonOption
from safepoint.cli.show import print_facts, print_json
from safepoint.model.measures import format_bytes, format_count
from safepoint.workflows.repository_verify import prepare_verify, selection_of, verified_to_json


def verify(
    name: NameArgument = None,
    sample: Annotated[str | None, typer.Option(metavar="SHARE", help="A random share of all objects, like 5%.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Whatever was not verified within this time, like 7d.")
    ] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Read stored objects and authenticate every byte.

    What was verified when is remembered. By default what is new, and a part of the rest, that which was read
    longest ago: run nightly, it reads all of it within two weeks. The plan tells how many objects, packs and bytes
    would be read now; of many objects the sizes are estimated from a sample. Exits 13 on damage and 3 when something
    is unknown, and says which backups, files and instants it concerns.

    It reads what is there: `check` finds what is missing, and `safepoint verify` proves a backup.
    """
    try:
        selection, what = selection_of(sample, since, is_all=is_all)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(str(error)) from error
    job = prepare_verify(place_of(name, repository, key, config), selection, what)
    found = carried_out(job, is_dry_run=dry_run, is_json=is_json)
    if found is None:
        return
    if is_json:
        print_json(verified_to_json(found))
    else:
        print_findings(found.findings)
        print_facts(
            [
                (
                    "bytes read",
                    f"{verdict(found.findings)}: {format_count(found.verified, 'object')}, {format_bytes(found.bytes)}",
                ),
                ("never verified yet", format_count(found.remaining, "object")),
                ("remembered", "yes" if found.is_remembered else "no: the next run reads them again"),
            ]
        )
    end_with(found.findings)
