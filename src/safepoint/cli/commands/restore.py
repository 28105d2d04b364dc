"""`safepoint restore`."""

from __future__ import annotations

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
from safepoint.recovery.proofs import NO_AMCHECK
from safepoint.workflows.project import load_project
from safepoint.workflows.repository_location import is_url
from safepoint.workflows.restore import Restored, Source, conclude, prepare_restore, source_at, source_of


def restore(
    database: DatabaseArgument = None,
    to: Annotated[
        str,
        typer.Option(
            metavar="TARGET", help="latest, an instant with its zone (2026-03-01T02:10:07Z) or an LSN (0/5000028)."
        ),
    ] = ...,  # type: ignore[assignment]
    into: Annotated[Path, typer.Option(metavar="DIR", help="An absent or empty directory.")] = ...,  # type: ignore[assignment]
    repository: PlaceOption = None,
    key: KeyOption = FIRST_KEY,
    backup: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The backup to begin from; by default the newest that is not known damaged."),
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
    source = _source(database, repository, key, config)
    job = prepare_restore(source, to=to, into=into, promotes=promote, queries=query or (), backup_id=backup)
    run = show_then_execute(job.plan, job.execute, is_dry_run=dry_run, is_json=is_json)
    if run is None:
        return
    restored = conclude(job, run)
    if is_json:
        print_json(_as_json(restored))
        return
    print_facts(_as_facts(restored))


app = command(restore, "restore")


def _source(database: str | None, repository: str | None, key: str, config: Path | None) -> Source:
    if repository is not None and is_url(repository):
        return source_at(repository, key, database)
    return source_of(load_project(config), database, repository)


def _as_facts(restored: Restored) -> list[tuple[str, str]]:
    facts = [
        ("restored", f"{restored.backup} to {restored.target}"),
        ("replayed", f"up to {restored.replayed}, last commit {restored.last_commit or 'unknown'}"),
        *((proof.name, f"{proof.outcome.value}: {proof.detail}") for proof in restored.proofs),
        ("evidence", restored.evidence),
        ("seconds", f"{sum(restored.seconds.values()):.1f}"),
        ("configuration", f"production's is in {restored.configuration}"),
        ("the copy", "listens on a socket only and archives nowhere"),
        ("connect", f"psql '{restored.url.redacted}'"),
        ("stop it", f"kill -INT $(head -1 {restored.data}/postmaster.pid)"),
    ]
    if any(proof.detail == NO_AMCHECK for proof in restored.proofs):
        facts.append(("hint", "so that the next restore can check indexes, in production: `CREATE EXTENSION amcheck`"))
    return facts


def _as_json(restored: Restored) -> dict[str, Json]:
    return {
        "backup": restored.backup,
        "target": restored.target,
        "replayed": restored.replayed,
        "last_commit": restored.last_commit,
        "data": str(restored.data),
        "configuration": str(restored.configuration),
        "url": restored.url.reveal(),
        "proofs": [proof.to_json() for proof in restored.proofs],
        "seconds": dict(restored.seconds),
        "evidence": restored.evidence,
    }
