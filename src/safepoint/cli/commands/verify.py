"""`safepoint verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from safepoint.cli.carry_out import show_then_execute
from safepoint.cli.options import ConfigOption, DatabaseArgument, DryRunOption, JsonOption, RepositoryOption, command
from safepoint.cli.show import outcome_lines, print_facts, print_json
from safepoint.model.proof import ProofLevel
from safepoint.workflows.project import load_project
from safepoint.workflows.verify import prepare_verification


def verify(
    database: DatabaseArgument = None,
    backup: Annotated[str | None, typer.Option(metavar="ID", help="The backup; by default the newest.")] = None,
    repository: RepositoryOption = None,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Read a backup back whole and compare every byte. Exits 13 on damage.

    Every file of one backup is compared with what the server said of it. Needs a repository, no server. Proves the
    level `verified`; a restore proves more. (`safepoint repository verify` looks at stored objects, of all backups, and
    proves no backup.)
    """
    job = prepare_verification(load_project(config), database, backup, repository)
    run = show_then_execute(job.plan, job.execute, is_dry_run=dry_run, is_json=is_json)
    if run is None:
        return
    evidence = job.conclude()
    found = run.outcomes["verify"]
    if is_json:
        print_json({**found, "proof": ProofLevel.VERIFIED.value, "evidence": evidence})
    else:
        print_facts([*outcome_lines(found), ("evidence", evidence)])


app = command(verify, "verify")
