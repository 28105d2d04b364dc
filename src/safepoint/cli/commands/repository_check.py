"""`safepoint repository check`."""

from __future__ import annotations

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
from safepoint.model.measures import format_bytes
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
    instants it concerns. Reads no data: `verify` does.
    """
    checked = carried_out(prepare_check(place_of(name, repository, key, config)), is_dry_run=False, is_json=is_json)
    assert checked is not None  # noqa: S101 - there is no dry run
    if is_json:
        print_json(checked_to_json(checked))
    else:
        print_findings(checked.findings)
        print_facts(
            [
                ("structure", verdict(checked.findings)),
                ("backups", str(checked.backups)),
                ("packs", f"{checked.packs}, {checked.orphan_packs} of them needed by no backup"),
                ("also read", f"{checked.indexes} indexes, {checked.nodes} nodes, {checked.journal_entries} entries"),
                ("WAL", f"{checked.wal_objects} objects"),
                ("cost", f"{checked.requests} requests, {format_bytes(checked.bytes)}"),
            ]
        )
    end_with(checked.findings)
