"""What a repository holds of one cluster: backups with their proof, and the instants that can be restored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from safepoint import errors
from safepoint.backup.fetch_coverage import fetch_coverage
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Coverage, Interval
from safepoint.model.json_value import Json, JsonObject
from safepoint.model.measures import format_count, format_instant
from safepoint.model.proof import ProofLevel
from safepoint.repository import Repository
from safepoint.strategy import BackupKind, Strategy
from safepoint.workflows.check_record import last_check

VERIFICATIONS = "verifications"
"""Records of backups that were read back whole."""
RESTORES = "restores"
"""Records of backups that were restored, started and checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """How far a backup has been proven; `is_damaged` when the last reading of it found damage, whatever came before."""

    level: ProofLevel
    is_damaged: bool = False

    def __str__(self) -> str:
        return "damaged" if self.is_damaged else self.level.value


_SHOWN = 5
NOT_READ = Proven(level=ProofLevel.STORED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """Backups of one cluster, oldest first, and everything restorable from them.

    `unreadable` names the repository's manifests that do not open: whose backups they are, nobody can say.
    """

    cluster: str | None
    backups: tuple[BackupManifest, ...]
    coverage: Coverage
    unreadable: tuple[str, ...] = ()


def restores_on_record(repository: Repository) -> tuple[JsonObject, ...]:
    """Those that were restored before, for how long it took; none when they cannot be read."""
    with suppress(errors.Damaged):
        return repository.records(RESTORES)
    return ()


def holdings_of(
    repository: Repository,
    database: str,
    *,
    around: Collection[datetime] = (),
    lineages: Collection[str] = (),
) -> Holdings:
    """What is held of the database; BK002 when two clusters share its name.

    `around` are instants next to which coverage is to know the marks; `lineages` are taken instead of those followed.
    """
    readable, unreadable = repository.readable_backups()
    backups = tuple(backup for backup in readable if backup.database == database)
    cluster = only_cluster(backups, database)
    coverage = Coverage(intervals=(), gaps=())
    if cluster is not None:
        coverage = fetch_coverage(repository, cluster, backups, around=around, lineages=lineages)
    return Holdings(cluster=cluster, backups=backups, coverage=coverage, unreadable=unreadable)


def only_cluster(backups: Sequence[BackupManifest], database: str) -> str | None:
    """The cluster of the backups under one name, None without any; BK002 when there are two."""
    clusters = sorted({backup.system_identifier for backup in backups})
    if len(clusters) > 1:
        raise errors.BK002.error(
            f"found backups of {len(clusters)} clusters under {database} ({', '.join(clusters)}), expected one",
            hints=[errors.run("see which is which: `safepoint backups`")],
        )
    return clusters[0] if clusters else None


def databases_in(repository: Repository) -> list[str]:
    """The names of the databases that have a backup which opens."""
    return sorted({backup.database for backup in repository.readable_backups()[0]})


def only_database(repository: Repository, name: str | None, url: str, command: str) -> str:
    """The database meant, of those that the repository at the URL holds; BK003 names them, and the command with one."""
    names = databases_in(repository)
    found = [known for known in names if name in {None, known}]
    if len(found) == 1:
        return found[0]
    known = ", ".join(names) or "none"
    if not names:
        hints = [
            errors.ask("is that the repository meant? no backup was ever finished in it"),
            errors.run("take one, with a strategy file that names it: `safepoint backup`"),
        ]
    else:
        hints = [errors.run(f"name it, as in `{command.format(names[0])}`")]
    message = (
        f"found {format_count(len(names), 'database')} in {url} ({known}), expected one, or the name of one"
        if name is None
        else f"found no database {name} in {url}, expected one of: {known}"
    )
    raise errors.BK003.error(message, hints=hints)


def first_tier(strategy: Strategy) -> str | None:
    """The first tier of physical backups, to be named in commands."""
    return next((tier.name for tier in strategy.tiers if tier.kind is BackupKind.PHYSICAL), None)


def backups_of(repository: Repository, database: str) -> tuple[BackupManifest, ...]:
    """The database's backups that open, oldest first."""
    return tuple(backup for backup in repository.readable_backups()[0] if backup.database == database)


def chosen_backup(repository: Repository, database: str, backup_id: str | None) -> BackupManifest:
    """The backup of that id, or the newest; BK003 when there is none."""
    backups = backups_of(repository, database)
    found = [backup for backup in backups if backup_id in {None, backup.id}]
    if not found:
        raise _no_such_backup(database, backup_id, [backup.id for backup in backups])
    return found[-1]


def _no_such_backup(database: str, backup_id: str | None, known: Sequence[str]) -> errors.SafepointError:
    take = errors.run(f"take one: `safepoint backup {database}`")
    if not known:
        return errors.BK003.error(
            f"found no backup of {database} in this repository, expected {backup_id or 'at least one'}",
            hints=[errors.ask("is it the right repository, and the database's right name?"), take],
        )
    newest = ", ".join(known[-_SHOWN:])
    return errors.BK003.error(
        f"found no backup {backup_id} of {database} among {len(known)}, expected one, such as the newest: {newest}",
        hints=[errors.run(f"list them all: `safepoint backups {database}`"), take],
    )


def proofs_of(repository: Repository) -> dict[str, Proven]:
    """What is known of each backup, by id; one that is not named is stored, and nothing has read it back.

    What the last check found not to be whole is damaged, unless it was read back whole since.
    """
    proven: dict[str, Proven] = {}
    verified: dict[str, str] = {}  # instants as they are written, in UTC: their order is that of their texts
    for record in repository.records(VERIFICATIONS):
        verified[str(record["backup"])] = str(record.get("at", ""))
        proven[str(record["backup"])] = Proven(
            level=ProofLevel(str(record["level"])), is_damaged=bool(record["is_damaged"])
        )
    for record in repository.records(RESTORES):
        before = proven.get(str(record["backup"]), NOT_READ)
        level = max(before.level, ProofLevel(str(record["proof"])), key=lambda level: level.rank)
        proven[str(record["backup"])] = Proven(level=level, is_damaged=before.is_damaged)
    check = last_check(repository)
    if check is None:
        return proven
    lost = {name for name in check.lost if verified.get(name, "") < check.at.astimezone(UTC).isoformat()}
    return proven | {name: replace(proven.get(name, NOT_READ), is_damaged=True) for name in lost}


def describe(coverage: Coverage) -> list[str]:
    """A line for each interval and each gap, for people; none for gaps where production did not go on."""
    intervals = [
        f"{interval.backup_id}: timeline {interval.timeline}, {interval.start} up to {interval.end}, "
        f"{_instants(interval)}"
        for interval in coverage.intervals
    ]
    gaps = [
        f"gap: timeline {gap.timeline}, {gap.start} up to {gap.end}"
        for gap in coverage.gaps
        if gap.timeline not in coverage.abandoned
    ]
    return intervals + gaps


def _instants(interval: Interval) -> str:
    if interval.latest is None:
        return f"{format_instant(interval.earliest)}; no instant after the backup is proven"
    return f"{format_instant(interval.earliest)} up to {format_instant(interval.latest)}"


def coverage_to_json(coverage: Coverage) -> dict[str, Json]:
    """What can be restored and what is missing, for programs; `latest` null: no instant after the backup is proven."""
    return {
        "restorable": [
            {
                "backup": interval.backup_id,
                "timeline": interval.timeline.value,
                "start_lsn": str(interval.start),
                "end_lsn": str(interval.end),
                "earliest": interval.earliest.isoformat(),
                "latest": interval.latest.isoformat() if interval.latest else None,
            }
            for interval in coverage.intervals
        ],
        "gaps": [
            {"timeline": gap.timeline.value, "start_lsn": str(gap.start), "end_lsn": str(gap.end)}
            for gap in coverage.gaps
        ],
    }
