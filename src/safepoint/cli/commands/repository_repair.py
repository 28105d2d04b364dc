"""`safepoint repository repair`."""

from __future__ import annotations

from typing import Annotated

import typer

from safepoint.cli.commands.repository_findings import end_with, print_findings
from safepoint.cli.commands.repository_options import (
    FIRST_KEY,
    KeyOption,
    NameArgument,
    PlaceOption,
    carried_out,
    place_of,
)
from safepoint.cli.narrate import narrated
from safepoint.cli.options import ConfigOption, DryRunOption, JsonOption
from safepoint.cli.show import data, print_facts, print_json, talk
from safepoint.model.measures import format_count
from safepoint.steps.plan import Step
from safepoint.workflows.project import load_project
from safepoint.workflows.repository_location import locate
from safepoint.workflows.repository_repair import prepare_repair, repaired_to_json


def repair(
    name: NameArgument = None,
    copies: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="NAME|URL", help="A repository that has copies; may be repeated."),
    ] = None,
    copies_key: Annotated[
        str, typer.Option("--from-key", metavar="REFERENCE", help="With URLs of copies: where their key is kept.")
    ] = FIRST_KEY,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Mend what is damaged or missing, from what is left and from copies.

    Finds what is wrong first, and says what can be done, and how many bytes are to be read for it. Nothing that
    opens is given up. Killed anywhere, the same command goes on. Exits 13 when something stays damaged, and 3 when
    something stays unknown.
    """
    place = place_of(name, repository, key, config)
    others = [locate(lambda: load_project(config), each, copies_key) for each in copies or ()]
    with narrated() as observer:
        step = Step(name="look", action="look", title="look what is wrong, and where it can be had")
        observer.step_started(step)
        job = prepare_repair(place, others, lambda progress: observer.step_progressed(step, progress))
    repaired = carried_out(job, is_dry_run=dry_run, is_json=is_json)
    if repaired is None:
        return
    if is_json:
        print_json(repaired_to_json(repaired))
    else:
        print_facts((action.kind.value, action.text) for action in repaired.actions)
        print_findings(repaired.unrepaired)
        data.print(
            f"{format_count(len(repaired.actions), 'repair')}, {format_count(repaired.blobs, 'blob')}; "
            f"{len(repaired.unrepaired)} not mended"
        )
    if repaired.actions:
        talk.print("hint: see that all is well: `safepoint repository check`, then `safepoint repository verify --all`")
    end_with(repaired.unrepaired)
