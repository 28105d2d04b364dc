"""`safepoint init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safepoint.cli.carry_out import show_then_execute
from safepoint.cli.options import FIRST_KEY, RECOVERY_HINT, AllowWeakOption, DryRunOption, JsonOption, command
from safepoint.cli.show import print_facts, print_json, talk
from safepoint.model.json_value import Json
from safepoint.steps.execute import execute
from safepoint.steps.journal import MemoryJournal
from safepoint.workflows.initialise import Findings, Wishes, ability_to_json, find_out, init_actions, plan_init


def init(
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="URL",
            help="Where the database is: env:NAME, file:PATH, cmd:COMMAND, or a URL. One with a password must be the "
            "value of an environment variable, which is then named. By default as Prisma's schema says, else "
            "env:DATABASE_URL.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to call it; by default the database's own name.")
    ] = None,
    repository: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where backups and WAL go; made if absent: a folder as file:/srv/backups, s3://bucket/prefix, "
            "gs://bucket/prefix or az://account/container/prefix.",
        ),
    ] = None,
    key: Annotated[
        str, typer.Option(metavar="REFERENCE", help="Where the repository's key is kept; `none`: no encryption.")
    ] = FIRST_KEY,
    allow_weak_key: AllowWeakOption = False,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Write safepoint.toml; what can be found out is not asked.

    Needs the server, no repository; makes one, or opens the one that is there, when it is named.
    """
    wishes = Wishes(
        directory=Path.cwd(), url=url, name=name, repository=repository, key=key, allows_weak=allow_weak_key
    )
    found = find_out(wishes)
    plan = plan_init(wishes, found)
    run = show_then_execute(
        plan,
        lambda observer: execute(plan, actions=init_actions(wishes), journal=MemoryJournal(), observer=observer),
        is_dry_run=dry_run,
        is_json=is_json,
    )
    if run is None:
        return
    path = str(run.outcomes["write-strategy"]["path"])
    if is_json:
        print_json(_as_json(path, found))
    else:
        print_facts([("wrote", path), ("next", "`safepoint status`")])
    made = run.outcomes.get("create-repository", {})
    if made.get("is_new") and made.get("is_encrypted"):
        talk.print(RECOVERY_HINT)


app = command(init, "init")


def _as_json(path: str, found: Findings) -> dict[str, Json]:
    return {
        "path": path,
        "database": found.database.redacted,
        "version": str(found.facts.version),
        "data": str(found.data) if found.data else None,
        "migrations": str(found.prisma.migrations) if found.prisma and found.prisma.migrations else None,
        "abilities": [ability_to_json(ability) for ability in found.abilities],
    }
