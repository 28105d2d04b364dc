"""`safepoint repository check`."""

from __future__ import annotations

from collections.abc import Iterator

from safepoint.cli.commands.repository_findings import end_with, print_findings, verdict
from safepoint.cli.commands.repository_options import (
    FIRST_KEY,
    KeyOption,
    NameArgument,
    PlaceOption,
    carried_out,
    place_of,
)
from safepoint.cli.options import ConfigOption, JsonOption
from safepoint.cli.show import print_facts, print_json
from safepoint.model.measures import format_bytes, format_count
from safepoint.repository.care.check import Checked
from safepoint.workflows.repository_care import checked_to_json, prepare_check


def check(
    name: NameArgument = None,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Check that everything is there that backups need.

    At the cost of metadata. Exits 13 on damage and 3 when something is unknown, and says which backups, files and
    instants it concerns. Reads no data: `verify` does. `safepoint status` tells what the last check found.
    """
    checked = carried_out(prepare_check(place_of(name, repository, key, config)), is_dry_run=False, is_json=is_json)
    assert checked is not None  # noqa: S101 - there is no dry run
    if is_json:
        print_json(checked_to_json(checked))
    else:
        print_findings(checked.findings)
        print_facts(_facts(checked))
    end_with(checked.findings)


def _facts(checked: Checked) -> Iterator[tuple[str, str]]:
    yield "structure", verdict(checked.findings)
    yield "backups", str(checked.backups) if checked.backups else "none yet: `safepoint backup`"
    orphans = f", {checked.orphan_packs} of them needed by no backup" if checked.orphan_packs else ""
    yield "packs", f"{checked.packs}{orphans}"
    read = (
        format_count(checked.indexes, "index", "indexes"),
        format_count(checked.nodes, "map node"),
        format_count(checked.journal_entries, "journal entry", "journal entries"),
    )
    yield "also read", ", ".join(read)
    yield "WAL", format_count(checked.wal_objects, "object")
    yield "cost", f"{format_count(checked.requests, 'request')}, {format_bytes(checked.bytes)}"
