"""`safepoint wal adopt`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safepoint.cli.carry_out import show_then_execute
from safepoint.cli.options import ConfigOption, DatabaseArgument, DryRunOption, JsonOption
from safepoint.cli.show import print_facts, print_json
from safepoint.workflows.project import load_project


def adopt(
    database: DatabaseArgument = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="The data directory of the server to adopt.")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="Or where it can be reached.")] = None,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who says so; by default this user and host.")] = None,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Say that a promoted copy is production from now on: its WAL is taken, and followed.

    Until then a restored copy may not archive, and of two servers that claim one timeline the first one does.
    """
    from safepoint.workflows.adopt import prepare_adoption  # noqa: PLC0415 - other commands of `wal` do without it

    adoption = prepare_adoption(load_project(config), database, data=data, url=url, by=by)
    done = show_then_execute(adoption.plan, adoption.execute, is_dry_run=dry_run, is_json=is_json)
    if done is None:
        return
    adopted = adoption.candidate
    if is_json:
        told = {"adopted": adopted.place, "system_identifier": adopted.cluster, "timeline": adopted.timeline.value}
        print_json(told)
        return
    print_facts([("adopted", adopted.place), ("timeline", str(adopted.timeline))])
