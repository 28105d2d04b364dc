"""`safepoint repository stats`."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from safepoint.cli.commands.repository_options import (
    FIRST_KEY,
    KeyOption,
    NameArgument,
    PlaceOption,
    carried_out,
    place_of,
)
from safepoint.cli.options import ConfigOption, JsonOption
from safepoint.cli.show import data, print_facts, print_json, print_table, talk
from safepoint.errors import ExitCode
from safepoint.model.measures import format_bytes
from safepoint.repository.care.stats import Share, Stats
from safepoint.workflows.repository_figures import prepare_stats, stats_to_json

_DAYS = 14


def stats(
    name: NameArgument = None,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Show bytes by database and tier, growth, garbage, WAL.

    Reads manifests, maps and indexes, never data. Exits 3 when a part of the figures is unknown.
    """
    found = carried_out(prepare_stats(place_of(name, repository, key, config)), is_dry_run=False, is_json=is_json)
    assert found is not None  # noqa: S101 - there is no dry run
    if is_json:
        print_json(stats_to_json(found))
    else:
        _print(found)
    for unknown in found.unknown:
        talk.print(f"warning: {unknown}")
    if found.unknown:
        talk.print("hint: what is damaged or missing: `safepoint repository check`")
        raise typer.Exit(ExitCode.ATTENTION)


def _print(found: Stats) -> None:
    print_facts(_facts(found))
    if found.backups:
        data.print()
        columns = ("", "backups", "raw", "unique", "stored", "of it maps", "needed by no other")
        shares = [("database", share) for share in found.databases] + [("tier", share) for share in found.tiers]
        print_table(columns, [_row(f"{axis} {share.name}", share) for axis, share in shares])
        data.print()
        days = [(str(day.day), str(day.backups), format_bytes(day.added_bytes)) for day in found.growth[-_DAYS:]]
        print_table(("day (UTC)", "backups", "added"), days)
    if found.wal:
        data.print()
        rows = [
            (
                wal.cluster,
                str(wal.segments),
                str(wal.ranges),
                format_bytes(wal.raw_bytes),
                f"{format_bytes(wal.stored_bytes)}, {'estimated from a sample' if wal.is_estimate else 'exact'}",
            )
            for wal in found.wal
        ]
        print_table(("WAL of cluster", "segments", "ranges", "raw", "stored"), rows)


def _facts(found: Stats) -> Iterator[tuple[str, str]]:
    packs, blobs = found.packs, found.total.blobs
    yield "repository", f"{found.repository}, {'encrypted' if found.is_encrypted else 'not encrypted'}"
    yield "backups", f"{found.total.backups}, {format_bytes(found.total.raw_bytes)} as restored"
    yield "unique", f"{format_bytes(blobs.unique)} of distinct data: {_ratio(found.deduplication)} deduplicated"
    yield "stored", f"{format_bytes(blobs.stored)} needed by backups: {_ratio(found.compression)} compressed"
    yield "packs", f"{packs.packs}, {format_bytes(packs.stored_bytes)} with {packs.blobs} blobs"
    yield "under way", f"{packs.under_way_packs} packs, {format_bytes(packs.under_way_bytes)}"
    if packs.garbage_packs is None or packs.garbage_bytes is None or packs.waste_bytes is None:
        yield "garbage", "unknown"
        return
    yield "garbage", f"{packs.garbage_packs} packs, {format_bytes(packs.garbage_bytes)}: `safepoint repository gc`"
    yield "waste", f"{format_bytes(packs.waste_bytes)} in packs that are needed: `safepoint repository repack`"


def _row(label: str, share: Share) -> tuple[str, ...]:
    sums = share.blobs
    figures = (share.raw_bytes, sums.unique, sums.stored, sums.maps, sums.alone)
    return label, str(share.backups), *map(format_bytes, figures)


def _ratio(value: float | None) -> str:
    return "not" if value is None else f"{value:.1f} times"
