"""A physical backup as a plan, and the actions that carry it out."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

from safepoint.backup.physical import BackupRequest, PhysicalBackup, open_backup
from safepoint.backup.physical_checks import require_free_senders
from safepoint.model.backup import BackupManifest
from safepoint.model.json_value import Json, JsonObject
from safepoint.model.measures import Clock, system_clock
from safepoint.postgres.basebackup import Checkpoint
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository import Repository
from safepoint.steps.execute import Action, Context, Observer, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Plan, Step


def new_backup_id(database: str, now: datetime) -> str:
    """A backup's id: the database and the instant to the millisecond, in UTC."""
    return f"{database}-{now.astimezone(UTC).strftime('%Y%m%dT%H%M%S')}{now.microsecond // 1000:03d}Z"


def plan_backup(
    database: str, *, tier: str, backup_id: str, checkpoint: Checkpoint = Checkpoint.FAST, compression: int = 1
) -> Plan:
    """Check → copy → WAL → commit. An interrupted backup is not resumed but taken again: journal it in memory."""
    arguments: dict[str, Json] = {
        "backup": backup_id,
        "database": database,
        "tier": tier,
        "checkpoint": checkpoint.value,
        "compression": compression,
    }
    steps = (
        ("check", "check that the server can be backed up"),
        ("copy", "copy the cluster's files into the repository"),
        ("wal", "bring the WAL of the copy into the repository"),
        ("commit", "commit the backup"),
    )
    return Plan(
        verb="backup",
        subject=database,
        title=f"physical backup of {database} into tier {tier}",
        steps=tuple(
            Step(name=name, action=f"backup.{name}", title=title, arguments=arguments) for name, title in steps
        ),
        facts=(
            ("backup", backup_id),
            ("tier", tier),
            ("checkpoint", checkpoint.value),
            ("compression", f"zstd {compression}"),
        ),
    )


@contextmanager
def backup_actions(url: DatabaseUrl, repository: Repository) -> Generator[Mapping[str, Action]]:
    """The actions of a backup plan; valid inside the context, which leaves neither sessions nor half a backup."""
    running: dict[str, PhysicalBackup] = {}
    with ExitStack() as stack:

        def backup_of(step: Step) -> PhysicalBackup:
            request = _request(step)
            if request.backup_id not in running:
                running[request.backup_id] = stack.enter_context(open_backup(url, repository, request))
            return running[request.backup_id]

        yield {
            "backup.check": lambda step, _: _check(backup_of(step)),
            "backup.copy": lambda step, context: _copy(backup_of(step), context),
            "backup.wal": lambda step, context: _fetch_wal(backup_of(step), context),
            "backup.commit": lambda step, context: _commit(backup_of(step), context),
        }


def take_backup(
    url: DatabaseUrl,
    repository: Repository,
    *,
    database: str,
    tier: str,
    checkpoint: Checkpoint = Checkpoint.FAST,
    observer: Observer | None = None,
    clock: Clock = system_clock,
) -> BackupManifest:
    """A backup, taken now: the plan made and carried out."""
    backup_id = new_backup_id(database, clock())
    plan = plan_backup(database, tier=tier, backup_id=backup_id, checkpoint=checkpoint)
    with backup_actions(url, repository) as actions:
        execute(plan, actions=actions, journal=MemoryJournal(), observer=observer, clock=clock)
    return repository.backup(backup_id)


def _request(step: Step) -> BackupRequest:
    arguments = step.arguments
    return BackupRequest(
        backup_id=str(arguments["backup"]),
        database=str(arguments["database"]),
        tier=str(arguments["tier"]),
        checkpoint=Checkpoint(arguments["checkpoint"]),
        compression=int(str(arguments["compression"])),
    )


def _check(backup: PhysicalBackup) -> JsonObject:
    server = backup.check()
    require_free_senders(backup.url)
    return {"version": str(server.version), "has_checksums": server.has_checksums}


def _copy(backup: PhysicalBackup, context: Context) -> JsonObject:
    copied = backup.copy(context.report)
    return {
        "files": copied.taken.files,
        "bytes": copied.taken.raw_bytes,
        "added_bytes": copied.taken.added_bytes,
        "start": str(copied.start.lsn),
        "stop": str(copied.stop.lsn),
        "timeline": copied.start.timeline.value,
        "system_identifier": copied.identity.system_identifier,
    }


def _require_copied(backup: PhysicalBackup, context: Context) -> None:
    """The copy lives in the process that made it: after a crash between two steps it is made again."""
    if backup.copied is None:
        backup.copy(context.report)


def _fetch_wal(backup: PhysicalBackup, context: Context) -> JsonObject:
    _require_copied(backup, context)
    return {"durable": str(backup.fetch_wal(context.report))}


def _commit(backup: PhysicalBackup, context: Context) -> JsonObject:
    if backup.copied is None:
        _fetch_wal(backup, context)
    manifest = backup.commit()
    return {
        "backup": manifest.id,
        "bytes": manifest.raw_bytes,
        "added_bytes": manifest.added_bytes,
        "stopped_at": manifest.stopped_at.isoformat(),
    }
