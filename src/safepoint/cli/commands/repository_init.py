"""`safepoint repository init`."""

from __future__ import annotations

from typing import Annotated

import typer

from safepoint.cli.carry_out import show_then_execute
from safepoint.cli.commands.repository_options import FIRST_KEY, KeyOption, NameArgument, PlaceOption, place_of
from safepoint.cli.options import RECOVERY_HINT, AllowWeakOption, ConfigOption, DryRunOption, JsonOption
from safepoint.cli.show import outcome_lines, print_facts, print_json, talk
from safepoint.workflows.project import load_project
from safepoint.workflows.repositories import prepare_creation
from safepoint.workflows.repository_location import locate


def init(
    name: NameArgument = None,
    sibling_of: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|URL",
            help="Make it the sibling of this one, under a key of its own: copies between them move objects as they "
            "are.",
        ),
    ] = None,
    sibling_key: Annotated[
        str, typer.Option(metavar="REFERENCE", help="With the URL of the sibling: where its key is kept.")
    ] = FIRST_KEY,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    allow_weak_key: AllowWeakOption = False,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Make a repository, or open the one that is there. Needs no server.

    Whoever loses every key of an encrypted repository loses every backup in it: add a recovery key.
    """
    other = None if sibling_of is None else locate(lambda: load_project(config), sibling_of, sibling_key)
    job = prepare_creation(place_of(name, repository, key, config), other, allows_weak=allow_weak_key)
    run = show_then_execute(job.plan, job.execute, is_dry_run=dry_run, is_json=is_json)
    if run is None:
        return
    outcome = run.outcomes["create"]
    if is_json:
        print_json(dict(outcome))
    else:
        print_facts(outcome_lines(outcome))
    if outcome["is_new"] and outcome["is_encrypted"]:
        talk.print(RECOVERY_HINT)
