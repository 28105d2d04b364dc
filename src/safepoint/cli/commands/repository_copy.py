"""`safepoint repository copy`."""

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
    looking,
    place_of,
)
from safepoint.cli.options import ConfigOption, DryRunOption, JsonOption
from safepoint.cli.show import print_facts, print_json
from safepoint.model.measures import format_bytes, format_count
from safepoint.repository.care.copy_values import Copied
from safepoint.workflows.project import load_project
from safepoint.workflows.repository_copy import copied_to_json, prepare_copy
from safepoint.workflows.repository_location import locate


def copy(
    name: NameArgument = None,
    to: Annotated[str, typer.Option(metavar="NAME|URL", help="Where to: see `init --sibling-of`.")] = ...,  # type: ignore[assignment]
    to_key: Annotated[
        str, typer.Option(metavar="REFERENCE", help="With the URL of the other: where its key is kept.")
    ] = FIRST_KEY,
    backup: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this backup, with its WAL; may be repeated.")
    ] = None,
    as_stranger: Annotated[
        bool, typer.Option("--as-stranger", help="Seal anew even for a sibling: when their keys have parted.")
    ] = False,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Copy what another repository lacks: backups, WAL, records.

    The plan tells the cost: bytes to read from this store and to put into the other. To a sibling go the objects
    that it lacks, as they are stored; for a stranger it is the size of files and WAL when they are opened, the most
    that it can be. The end tells what was read and sent, with all maps and indexes.
    A backup is there when all of it is there. Killed anywhere, or out of room, the same command goes on.
    Exits 13 when something in the source is damaged; the rest is copied.
    """
    place = place_of(name, repository, key, config)
    target = locate(lambda: load_project(config), to, to_key)
    with looking("look what the other repository lacks"):
        job = prepare_copy(place, target, backup or (), as_stranger=as_stranger)
    copied = carried_out(job, is_dry_run=dry_run, is_json=is_json)
    if copied is None:
        return
    if is_json:
        print_json(copied_to_json(copied))
    else:
        print_findings(copied.findings)
        print_facts(
            [
                ("copied", _counts(copied)),
                ("read here", format_bytes(copied.read_bytes)),
                ("sent there", format_bytes(copied.sent_bytes)),
            ]
        )
    end_with(copied.findings)


def _counts(copied: Copied) -> str:
    counts = (
        format_count(len(copied.backups), "backup"),
        format_count(copied.packs, "pack"),
        format_count(copied.objects - len(copied.backups), "other object"),
    )
    return ", ".join(counts)
