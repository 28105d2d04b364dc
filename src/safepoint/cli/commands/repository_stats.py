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
from safepoint.model.measures import format_bytes, format_count
from safepoint.repository.care.pack_figures import PackFigures
from safepoint.repository.care.stats import Share, Stats
from safepoint.workflows.repository_stats import prepare_stats, stats_to_json

_DAYS = 14
_AT_LEAST = "at least "
_GC, _REPACK = "`safepoint repository gc`", "`safepoint repository repack`"


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
        talk.print("hint: what is damaged or missing, and whom it concerns: `safepoint repository check`")
        raise typer.Exit(ExitCode.ATTENTION)


def _print(found: Stats) -> None:
    mark = _AT_LEAST if found.unknown else ""
    print_facts(_facts(found, mark))
    if found.backups:
        data.print()
        columns = ("", "backups", "raw", "unique", "stored", "of it maps", "needed by no other")
        shares = [("database", share) for share in found.databases] + [("tier", share) for share in found.tiers]
        print_table(columns, [_row(f"{axis} {share.name}", share, mark) for axis, share in shares])
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


def _facts(found: Stats, mark: str) -> Iterator[tuple[str, str]]:
    packs, blobs = found.packs, found.total.blobs
    yield "repository", f"{found.repository}, {'encrypted' if found.is_encrypted else 'not encrypted'}"
    yield "backups", f"{mark}{found.total.backups}, {mark}{format_bytes(found.total.raw_bytes)} as restored"
    if found.backups:
        yield (
            "unique",
            f"{mark}{format_bytes(blobs.unique)} of distinct data{_ratio('deduplicated', found.deduplication, mark)}",
        )
        yield (
            "stored",
            f"{mark}{format_bytes(blobs.stored)} needed by backups{_ratio('compressed', found.compression, mark)}",
        )
    yield "packs", f"{packs.packs}, {format_bytes(packs.stored_bytes)} with {format_count(packs.blobs, 'blob')}"
    if packs.unlisted:
        yield "", f"{format_count(packs.unlisted, 'pack')} of them in no index, with blobs that are not counted"
    if packs.under_way_packs:
        under_way = f"{format_count(packs.under_way_packs, 'pack')}, {format_bytes(packs.under_way_bytes)}"
        yield "under way", f"{under_way} of writers at work"
    if packs.garbage_packs is None or packs.garbage_bytes is None or packs.waste_bytes is None:
        yield "garbage", "unknown: what backups need is not all known"
        return
    garbage = f"{format_count(packs.garbage_packs, 'pack')}, {format_bytes(packs.garbage_bytes)}: {_GC}"
    yield "garbage", garbage if packs.garbage_packs else "none"
    yield "waste", _waste(packs, packs.waste_bytes) if packs.waste_bytes else "none"


def _waste(packs: PackFigures, waste_bytes: int) -> str:
    """What lies unneeded in packs that are needed, and whether a repack would do something about it."""
    waste = f"{format_bytes(waste_bytes)} in packs that are needed"
    if not packs.sparse_packs:
        return f"{waste}, at least half of each: too little for a repack"
    sparse = f"{format_bytes(packs.sparse_bytes or 0)} of it in {format_count(packs.sparse_packs, 'pack')}"
    return f"{waste}, {sparse} needed to less than half: {_REPACK}"


def _row(label: str, share: Share, mark: str) -> tuple[str, ...]:
    sums = share.blobs
    figures = (share.raw_bytes, sums.unique, sums.stored, sums.maps)
    alone = "unknown" if mark else format_bytes(sums.alone)
    return label, f"{mark}{share.backups}", *(f"{mark}{format_bytes(figure)}" for figure in figures), alone


def _ratio(what: str, value: float | None, mark: str) -> str:
    """Nothing where there is nothing to compare; unknown where one of both is a lower bound."""
    if mark:
        return f", {what} an unknown number of times"
    return "" if value is None else f", {what} {value:.1f} times"
