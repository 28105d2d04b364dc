"""`safepoint coverage`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from safepoint import errors
from safepoint.cli.options import (
    FIRST_KEY,
    ConfigOption,
    DatabaseArgument,
    JsonOption,
    KeyOption,
    PlaceOption,
    command,
)
from safepoint.cli.show import data, print_facts, print_json, print_table, talk
from safepoint.errors import ExitCode
from safepoint.evidence.coverage_picture import coverage_svg
from safepoint.files import write_durably
from safepoint.model.measures import format_bytes, format_count, format_duration, format_instant
from safepoint.model.reach import CoverageReport, Lineage, Reach, Within
from safepoint.monitoring.wal_gaps import CAUSES, cures_of, describe_loss
from safepoint.repository import Repository
from safepoint.workflows.coverage import coverage_report, keep_of
from safepoint.workflows.coverage_words import coverage_report_to_json
from safepoint.workflows.held import only_database
from safepoint.workflows.project import load_project
from safepoint.workflows.repository_location import is_url, located_at

_COLUMNS = ("timeline", "backup", "from", "up to", "instants from", "up to", "WAL to replay", "takes", "window")
_MODE = 0o644
_NO_BACKUP = "unknown: no backup yet"
_PLACES = {
    None: "none stated",
    Within.WINDOW: "within",
    Within.ACROSS: "its beginning; before it, the end alone once WAL expires",
    Within.BEFORE: "older: its end alone once WAL expires",
}


def coverage(
    database: DatabaseArgument = None,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE.svg", help="Draw it as well; an old file is replaced.")
    ] = None,
    config: ConfigOption = None,
    is_json: JsonOption = False,
) -> None:
    """Say what can be restored, from which backup and how fast; and what cannot, and why.

    Needs a repository, no server. Exits 3 when there is no backup, when WAL is missing that a backup needs, when the
    window that the strategy states has a hole, or when a manifest does not open.
    """
    opened, name, keep = _asked(database, repository, key, config)
    report = coverage_report(opened, name, keep)
    if picture is not None:
        _draw(report, picture)
    if is_json:
        print_json(coverage_report_to_json(report))
    else:
        _print(report)
    is_empty = report.cluster is None
    if is_empty or report.harmful or report.unreadable or report.is_window_covered is False:
        raise typer.Exit(ExitCode.ATTENTION)


app = command(coverage, "coverage")


def _asked(
    database: str | None, repository: str | None, key: str, config: Path | None
) -> tuple[Repository, str, timedelta | None]:
    if repository is not None and is_url(repository):
        opened = located_at(repository, key).open()
        name = only_database(opened, database, repository, f"safepoint coverage {{}} --repository {repository}")
        return opened, name, None
    project = load_project(config)
    name = project.strategy.database(database).name
    return project.repository(repository), name, keep_of(project.strategy, name)


def _draw(report: CoverageReport, path: Path) -> None:
    content = coverage_svg(report, {cause.value: text for cause, text in CAUSES.items()})
    try:
        write_durably(path, content.encode(), _MODE)
    except OSError as error:
        raise errors.CF007.error(
            f"found that {path} cannot be written ({(error.strerror or str(error)).lower()}), expected a picture there",
            hints=[errors.run("name a file in a folder that exists and is yours: `--picture FILE.svg`")],
        ) from error


def _print(report: CoverageReport) -> None:
    print_facts(_facts(report))
    if any(lineage.reaches for lineage in report.lineages):
        data.print()
        print_table(_COLUMNS, (_row(lineage, reach) for lineage in report.lineages for reach in lineage.reaches))
    for loss in report.losses:
        data.print()
        data.print(f"gap: {describe_loss(loss)}")
        for cure in cures_of(loss, report.database):
            data.print(f"  {cure}")
    for unreadable in report.unreadable:
        talk.print(f"warning: {unreadable} does not open: whose backup it is cannot be said")


def _facts(report: CoverageReport) -> Iterator[tuple[str, str]]:
    yield "database", report.database
    yield "system identifier", report.cluster or _NO_BACKUP
    yield "newest instant", "unknown" if report.newest is None else format_instant(report.newest)
    yield "window", _window(report)
    yield "WAL", _pieces(report)
    yield "gaps", _gaps(report)
    speed = report.speed
    if speed.restores:
        replay = "unknown" if speed.replay is None else f"{format_bytes(round(speed.replay))}/s"
        yield (
            "restores so far",
            f"{speed.restores}: files {format_bytes(round(speed.write or 0))}/s, WAL {replay}",
        )
    else:
        yield "restores so far", "none on record: how long one takes is unknown"


def _window(report: CoverageReport) -> str:
    """Where it begins, and whether every instant in it can be restored, as far as backups go back."""
    if report.newest is None or report.restorable_from is None:
        return "unknown: no instant is known"
    if report.window_start is None:
        return "none stated: `keep` of [wal.NAME] in the strategy file"
    start = f"from {format_instant(report.window_start)}"
    if not report.is_window_covered:
        return f"{start}; some instants in it cannot be restored"
    if report.restorable_from > report.window_start:
        first = format_instant(report.restorable_from)
        return f"{start}; every instant from {first} up to the newest; no backup ended before"
    return f"{start}; every instant in it, up to the newest"


def _pieces(report: CoverageReport) -> str:
    """How many are held by the listing, and of how many it was seen that they open."""
    if report.cluster is None:
        return "not looked at: no backup says of which cluster"
    held = format_count(report.pieces, "piece")
    if report.pieces == report.opened_pieces:
        return f"{held}, of each the head was read"
    opened = f"{held}, of {report.opened_pieces} the head was read"
    return f"{opened}: damage elsewhere shows in `safepoint repository verify` or a restore"


def _gaps(report: CoverageReport) -> str:
    if report.cluster is None:
        return _NO_BACKUP
    if not report.losses:
        return "none"
    harmless = len(report.losses) - len(report.harmful)
    return format_count(len(report.harmful), "gap") + (
        f", and {harmless} that cost production nothing" if harmless else ""
    )


def _row(lineage: Lineage, reach: Reach) -> tuple[str, ...]:
    return (
        str(lineage.timeline) if lineage.is_followed else f"{lineage.timeline}, not followed: --lineage {lineage.name}",
        reach.backup_id,
        str(reach.start),
        str(reach.end),
        "unknown" if reach.earliest is None else format_instant(reach.earliest),
        "unknown" if reach.latest is None else format_instant(reach.latest),
        format_bytes(reach.wal_bytes),
        "unknown" if reach.seconds is None else format_duration(timedelta(seconds=reach.seconds)),
        _PLACES[reach.within],
    )
