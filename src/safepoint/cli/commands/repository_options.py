"""What the commands of `safepoint repository` share: how a repository is named, and how a job is carried out."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import typer

from safepoint.cli.carry_out import show_then_execute
from safepoint.cli.narrate import narrated
from safepoint.cli.options import FIRST_KEY, KeyOption, PlaceOption
from safepoint.cli.options import RepositoryArgument as NameArgument
from safepoint.steps.plan import Step
from safepoint.workflows.care_job import CareJob
from safepoint.workflows.project import load_project
from safepoint.workflows.repository_location import Located, locate

__all__ = [
    "FIRST_KEY",
    "KeyOption",
    "NameArgument",
    "PlaceOption",
    "carried_out",
    "looking",
    "place_of",
]

Result = TypeVar("Result")


def place_of(name: str | None, repository: str | None, key: str, config: Path | None) -> Located:
    """The repository that was named in one of both ways, or the strategy's first."""
    if name is not None and repository is not None:
        raise typer.BadParameter(f"found {name!r} and --repository {repository!r}, expected one of both")
    return locate(lambda: load_project(config), name or repository, key)


def carried_out(job: CareJob[Result], *, is_dry_run: bool, is_json: bool) -> Result | None:
    """What came of the job; None after a dry run."""
    run = show_then_execute(job.plan, job.execute, is_dry_run=is_dry_run, is_json=is_json)
    return None if run is None else job.result


@contextmanager
def looking(title: str) -> Generator[None]:
    """Tells how long it takes to find out what the plan will be; nothing when that is quick."""
    with narrated() as observer:
        observer.step_started(Step(name="look", action="look", title=title))
        yield
