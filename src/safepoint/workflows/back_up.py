"""`safepoint backup`: a physical backup into the tier's repository."""

from __future__ import annotations

from dataclasses import dataclass

from safepoint import errors
from safepoint.backup.physical import Checkpoint
from safepoint.backup.plan import backup_actions, new_backup_id, plan_backup
from safepoint.model.backup import BackupManifest
from safepoint.model.json_value import Json
from safepoint.model.measures import Clock, system_clock
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository import Repository
from safepoint.steps.execute import Observer, Run, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Plan
from safepoint.strategy import BackupKind, TierStrategy
from safepoint.workflows.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupJob:
    """A planned backup and what it needs."""

    plan: Plan
    url: DatabaseUrl
    repository: Repository

    def execute(self, observer: Observer) -> Run:
        """The backup exists, or it does not and nothing of it is listed. A backup cut short is taken anew."""
        with backup_actions(self.url, self.repository) as actions:
            return execute(self.plan, actions=actions, journal=MemoryJournal(), observer=observer)


def prepare_backup(
    project: Project, name: str | None, tier_name: str, *, is_spread: bool = False, clock: Clock = system_clock
) -> BackupJob:
    """The plan of a backup; CF004, CF006 when the strategy names no such thing. Opens the repository."""
    database = project.self_managed(name)
    project.strategy.repository()
    tier = project.strategy.tier(tier_name)
    _require_physical(tier)
    checkpoint = Checkpoint.SPREAD if is_spread else Checkpoint.FAST
    plan = plan_backup(
        database.name,
        tier=tier.name,
        backup_id=new_backup_id(database.name, clock()),
        checkpoint=checkpoint,
        compression=tier.compression,
    )
    return BackupJob(plan=plan, url=project.database_url(database), repository=project.repository(tier.repositories[0]))


def backup_to_json(backup: BackupManifest, proof: str) -> dict[str, Json]:
    """One line of `safepoint backups`."""
    return {
        "backup": backup.id,
        "database": backup.database,
        "tier": backup.tier,
        "cluster": backup.system_identifier,
        "version": str(backup.version),
        "timeline": backup.timeline.value,
        "start_lsn": str(backup.start_lsn),
        "stop_lsn": str(backup.stop_lsn),
        "started_at": backup.started_at.isoformat(),
        "stopped_at": backup.stopped_at.isoformat(),
        "files": backup.file_count,
        "raw_bytes": backup.raw_bytes,
        "added_bytes": backup.added_bytes,
        "proof": proof,
    }


def _require_physical(tier: TierStrategy) -> None:
    if tier.kind is not BackupKind.PHYSICAL:
        raise errors.CF004.error(
            f'found tier.{tier.name}.kind "{tier.kind.value}", expected "physical": this version takes no other',
            hints=[errors.run(f'set `kind = "physical"` in [tier.{tier.name}], or name another tier')],
        )
