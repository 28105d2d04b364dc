"""`safepoint repository key reseal` and `repack`."""

from __future__ import annotations

import typer

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
from safepoint.cli.show import print_facts, print_json, talk
from safepoint.errors import ExitCode
from safepoint.model.measures import format_bytes, format_count
from safepoint.repository.care.rewrite import Rewritten
from safepoint.workflows.care_job import CareJob
from safepoint.workflows.repository_rewrite import prepare_repack, prepare_reseal, rewritten_to_json


def reseal(
    name: NameArgument = None,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Seal old packs with the newest key, after `key rotate`.

    So that a lost key opens as little as possible. The old packs go with the next `gc`. Killed anywhere, the next
    run goes on. Exits 3 when a pack could not be read.
    """
    place = place_of(name, repository, key, config)
    with looking("look which packs older keys open"):
        job = prepare_reseal(place)
    _finish(job, is_dry_run=dry_run, is_json=is_json)


def repack(
    name: NameArgument = None,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Rewrite packs that are mostly not needed any more.

    Of those of which backups need less than half, that half is kept; the old packs go with the next `gc`. Killed
    anywhere, the next run goes on. Exits 3 when a pack could not be read.
    """
    place = place_of(name, repository, key, config)
    with looking("look what backups need of each pack"):
        job = prepare_repack(place)
    _finish(job, is_dry_run=dry_run, is_json=is_json)


def _finish(job: CareJob[Rewritten], *, is_dry_run: bool, is_json: bool) -> None:
    found = carried_out(job, is_dry_run=is_dry_run, is_json=is_json)
    if found is None:
        return
    if is_json:
        print_json(rewritten_to_json(found))
    else:
        print_facts(
            [
                (
                    "rewritten",
                    f"{format_count(found.packs, 'pack')} into {found.new_packs}, {format_bytes(found.written_bytes)}",
                ),
                *(("could not be read", name) for name in found.kept),
            ]
        )
    if found.packs:
        talk.print("hint: delete the packs that they replace: `safepoint repository gc`")
    if found.kept:
        talk.print("hint: see what is damaged: `safepoint repository verify --all`")
        raise typer.Exit(ExitCode.ATTENTION)
