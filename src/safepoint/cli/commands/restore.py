"""`safepoint restore`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from safepoint.cli.carry_out import show_then_execute
from safepoint.cli.options import (
    FIRST_KEY,
    ConfigOption,
    DatabaseArgument,
    DryRunOption,
    JsonOption,
    KeyOption,
    PlaceOption,
    command,
)
from safepoint.cli.show import print_facts, print_json
from safepoint.model.json_value import Json
from safepoint.model.measures import format_bytes
from safepoint.recovery.online_proofs import NO_VISIBILITY
from safepoint.recovery.options import Purpose
from safepoint.recovery.proofs import NO_AMCHECK
from safepoint.workflows.project import load_project
from safepoint.workflows.repository_location import is_url
from safepoint.workflows.restore import Source, Wish, prepare, source_at, source_of
from safepoint.workflows.restored import Restored, conclude


class ExportKind(Enum):
    """What an export is."""

    PLAIN_DIRECTORY = Purpose.EXPORT.value


def restore(
    database: DatabaseArgument = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="latest, immediate (the end of a backup), an instant with its zone (2026-03-01T02:10:07Z), "
            "an LSN (0/5000028: every record that begins before it), xid:N or name:RESTORE_POINT.",
        ),
    ] = None,
    into: Annotated[Path, typer.Option(metavar="DIR", help="An absent or empty directory, unless with --delta.")] = ...,  # type: ignore[assignment]
    exclusive: Annotated[
        bool,
        typer.Option(
            "--exclusive",
            help="Without the transaction, or the commits of that very instant. Not with an LSN, which always means "
            "every record that begins before it.",
        ),
    ] = False,
    timeline: Annotated[
        str,
        typer.Option(
            metavar="N|latest|current",
            help="The timeline to end on: a number, the newest that reaches the target, or the backup's own.",
        ),
    ] = "latest",
    lineage: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="Of two histories of one timeline, the one whose digest begins so."),
    ] = None,
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    backup: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The backup to begin from; by default the newest that is not known damaged."),
    ] = None,
    delta: Annotated[
        bool, typer.Option("--delta", help="Overwrite a stopped copy of the same cluster, fetching only what differs.")
    ] = False,
    tablespace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|OID|OLDDIR=NEWDIR", help="Where a tablespace goes; by default below DIR. May be repeated."
        ),
    ] = None,
    standby: Annotated[
        bool, typer.Option("--standby", help="A new standby: WAL from the repository, then streaming from production.")
    ] = False,
    export: Annotated[
        ExportKind | None,
        typer.Option(
            help="A data directory for PostgreSQL's own tools: the end of a backup, checked, and no server started."
        ),
    ] = None,
    promote: Annotated[
        bool, typer.Option("--promote/--no-promote", help="Leave the copy writable, or in recovery at the target.")
    ] = True,
    query: Annotated[
        list[str] | None, typer.Option(metavar="SQL", help="A query that the copy must answer; may be repeated.")
    ] = None,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    is_json: JsonOption = False,
) -> None:
    """Restore a cluster to an exact instant, start it, prove it.

    Needs a repository, no server. The copy listens on a private socket and archives nowhere; production is never
    touched. Killed anywhere, the same command goes on or begins afresh.
    """
    purpose = _purpose(is_standby=standby, is_export=export is not None)
    wish = Wish(
        to=_target(to, purpose),
        is_exclusive=exclusive,
        timeline=timeline,
        lineage=lineage,
        backup_id=backup,
        purpose=purpose,
        promotes=promote,
        is_delta=delta,
        tablespaces=tablespace or (),
        queries=query or (),
    )
    job = prepare(_source(database, repository, key, config, purpose), wish, into)
    if dry_run:
        job.admit()
    run = show_then_execute(job.plan, job.execute, is_dry_run=dry_run, is_json=is_json)
    if run is None:
        return
    restored = conclude(job, run)
    if is_json:
        print_json(_as_json(restored))
        return
    print_facts(_as_facts(restored))


app = command(restore, "restore")


def _source(database: str | None, repository: str | None, key: str, config: Path | None, purpose: Purpose) -> Source:
    if repository is not None and is_url(repository):
        return source_at(repository, key, database)
    return source_of(load_project(config), database, repository, with_primary=purpose is Purpose.STANDBY)


def _purpose(*, is_standby: bool, is_export: bool) -> Purpose:
    if is_standby and is_export:
        raise typer.BadParameter("a standby runs, an export does not: give one of them", param_hint="'--export'")
    if is_standby:
        return Purpose.STANDBY
    return Purpose.EXPORT if is_export else Purpose.COPY


def _target(to: str | None, purpose: Purpose) -> str:
    """What is asked for, or the only thing that can be; a copy's target is never guessed."""
    if to is not None:
        return to
    if purpose is Purpose.COPY:
        raise typer.BadParameter("missing: say where to end, as in `--to latest`", param_hint="'--to'")
    return "latest" if purpose is Purpose.STANDBY else "immediate"


def _as_facts(restored: Restored) -> list[tuple[str, str]]:
    facts = [
        ("restored", f"{restored.backup} to {restored.target}"),
        *_fetched(restored),
        *_replayed(restored),
        *((proof.name, f"{proof.outcome.value}: {proof.detail}") for proof in restored.proofs),
        ("evidence", restored.evidence),
        ("seconds", f"{sum(restored.seconds.values()):.1f}"),
        *_left(restored),
    ]
    missing = [name for detail, name in _EXTENSIONS.items() if any(p.detail == detail for p in restored.proofs)]
    if missing:
        commands = ", ".join(f"`CREATE EXTENSION {name}`" for name in missing)
        facts.append(("hint", f"so that the next restore can check more, in production: {commands}"))
    return facts


_EXTENSIONS = {NO_AMCHECK: "amcheck", NO_VISIBILITY: "pg_visibility"}


def _fetched(restored: Restored) -> list[tuple[str, str]]:
    if restored.fetched_bytes is None:
        return []
    fetched, kept = format_bytes(restored.fetched_bytes), format_bytes(restored.raw_bytes - restored.fetched_bytes)
    return [("fetched", f"{fetched}; {kept} stood there already")]


def _replayed(restored: Restored) -> list[tuple[str, str]]:
    if restored.replayed is None:
        return []
    return [("replayed", f"up to {restored.replayed}, last commit {restored.last_commit or 'unknown'}")]


def _left(restored: Restored) -> list[tuple[str, str]]:
    """What stands there now, and how it is used."""
    if restored.url is None:
        return [("the directory", f"{restored.data}: no server was started in it; it starts by itself")]
    stop = ("stop it", f"kill -INT $(head -1 {restored.data}/postmaster.pid)")
    connect = ("connect", f"psql '{restored.url.redacted}'")
    if restored.purpose is Purpose.STANDBY:
        here = f"where it listens until it is started otherwise stands in {restored.data}/safepoint.conf"
        return [("the standby", f"streams, with production's configuration and access rules; {here}"), connect, stop]
    return [
        ("configuration", f"production's is in {restored.configuration}"),
        ("the copy", "listens on a socket only and archives nowhere"),
        connect,
        stop,
    ]


def _as_json(restored: Restored) -> dict[str, Json]:
    return {
        "backup": restored.backup,
        "target": restored.target,
        "replayed": restored.replayed,
        "last_commit": restored.last_commit,
        "bytes": restored.raw_bytes,
        "fetched_bytes": restored.fetched_bytes,
        "data": str(restored.data),
        "configuration": str(restored.configuration),
        "url": None if restored.url is None else restored.url.reveal(),
        "proofs": [proof.to_json() for proof in restored.proofs],
        "seconds": dict(restored.seconds),
        "evidence": restored.evidence,
    }
