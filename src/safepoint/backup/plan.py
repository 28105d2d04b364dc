"""A physical backup as a plan, and the actions that carry it out."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

from safepoint.backup.physical import BackupRequest, PhysicalBackup, open_backup
from safepoint.backup.physical_checks import require_free_senders
from safepoint.model.json_value import JsonObject
from safepoint.model.measures import format_bytes
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository import Repository
from safepoint.steps.execute import Action, Context
from safepoint.steps.plan import Plan, Step


def new_backup_id(database: str, now: datetime) -> str:
    """A backup's id: the database and the instant to the millisecond, in UTC."""
    return f"{database}-{now.astimezone(UTC).strftime('%Y%m%dT%H%M%S')}{now.microsecond // 1000:03d}Z"


def plan_backup(
    request: BackupRequest, reason: str, *, facts: tuple[tuple[str, str], ...] = (), warnings: tuple[str, ...] = ()
) -> Plan:
    """Check → copy → WAL → commit. An interrupted backup is not resumed but taken again: journal it in memory.

    The next one finds in the repository what was stored. `reason` says why it is this source; `facts` are those that
    the plan cannot know by itself.
    """
    arguments = request.to_json()
    rate_limit = request.rate_limit
    steps = (
        ("check", "check that the server can be backed up"),
        ("copy", "copy the cluster's files into the repository"),
        ("wal", "bring the WAL of the copy into the repository"),
        ("commit", "commit the backup"),
    )
    return Plan(
        verb="backup",
        subject=request.database,
        title=f"physical backup of {request.database} into tier {request.tier}",
        steps=tuple(
            Step(name=name, action=f"backup.{name}", title=title, arguments=arguments) for name, title in steps
        ),
        facts=(
            ("backup", request.backup_id),
            ("tier", request.tier),
            ("source", f"{request.source.value}: {reason}"),
            *facts,
            ("checkpoint", request.checkpoint.value),
            ("compression", f"zstd {request.compression}"),
            *((("rate limit", f"{format_bytes(rate_limit)}/s"),) if rate_limit is not None else ()),
        ),
        warnings=warnings,
    )


@contextmanager
def backup_actions(
    url: DatabaseUrl, repository: Repository, *, primary: DatabaseUrl, strategy: str
) -> Generator[Mapping[str, Action]]:
    """The actions of a backup plan; valid inside the context, which leaves neither sessions nor half a backup.

    `url` leads to the server that is copied, `primary` to the same or its primary; `strategy` is the text of the
    strategy file, which the manifest keeps.
    """
    running: dict[str, PhysicalBackup] = {}
    with ExitStack() as stack:

        def backup_of(step: Step) -> PhysicalBackup:
            request = BackupRequest.from_json(step.arguments)
            if request.backup_id not in running:
                running[request.backup_id] = stack.enter_context(
                    open_backup(url, repository, request, primary=primary, strategy=strategy)
                )
            return running[request.backup_id]

        yield {
            "backup.check": lambda step, _: _check(backup_of(step)),
            "backup.copy": lambda step, context: _copy(backup_of(step), context),
            "backup.wal": lambda step, context: _fetch_wal(backup_of(step), context),
            "backup.commit": lambda step, context: _commit(backup_of(step), context),
        }


def _check(backup: PhysicalBackup) -> JsonObject:
    server = backup.check()
    require_free_senders(backup.url)
    return {
        "version": str(server.version),
        "has_checksums": server.has_checksums,
        "is_standby": server.is_in_recovery,
    }


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
        "detection": copied.files.detection.value,
        "detection_reason": copied.files.detection_reason,
        "damaged_pages": [[page.path, page.block] for page in copied.files.damaged_pages],
        "warnings": list(copied.warnings),
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
