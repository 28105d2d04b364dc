"""`safepoint verify`: a backup is read back whole, and what was found is recorded, good or bad."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from safepoint import errors
from safepoint.backup.verify import plan_verify, verify_actions
from safepoint.errors import Damaged, SafepointError
from safepoint.model.backup import BackupManifest
from safepoint.model.json_value import Json
from safepoint.model.proof import ProofLevel
from safepoint.repository import Repository
from safepoint.steps.execute import Observer, Run, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Plan
from safepoint.workflows.held import VERIFICATIONS, chosen_backup
from safepoint.workflows.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A planned reading of one backup."""

    plan: Plan
    repository: Repository
    backup: BackupManifest

    def execute(self, observer: Observer) -> Run:
        """Every byte was read and found right; a `Damaged` for the first that was not, which is recorded."""
        try:
            actions = verify_actions(self.repository)
            return execute(self.plan, actions=actions, journal=MemoryJournal(), observer=observer)
        except Damaged as error:
            evidence = record_verification(self.repository, self.backup.id, level=ProofLevel.STORED, is_damaged=True)
            error.changed = f"the damage of {self.backup.id} is {evidence}; nothing else was changed"
            raise

    def conclude(self) -> str:
        """Records the proof; says why when the repository would not take it. Until then the backup counts as stored."""
        return record_verification(self.repository, self.backup.id, level=ProofLevel.VERIFIED, is_damaged=False)


def prepare_verification(
    project: Project, name: str | None, backup_id: str | None, repository: str | None
) -> Verification:
    """Reading the backup of that id, or the newest; BK003."""
    database = project.strategy.database(name)
    opened = project.repository(repository)
    backup = chosen_backup(opened, database.name, backup_id)
    return Verification(plan=plan_verify(backup), repository=opened, backup=backup)


def record_verification(repository: Repository, backup_id: str, *, level: ProofLevel, is_damaged: bool) -> str:
    """What was found of a backup is on record; or why the repository would not take it."""
    record: dict[str, Json] = {
        "backup": backup_id,
        "level": level.value,
        "is_damaged": is_damaged,
        "at": datetime.now(UTC).isoformat(),
    }
    try:
        repository.append_record(VERIFICATIONS, record)
    except SafepointError as error:
        if error.spec not in {errors.ST001, errors.ST002}:
            raise
        return f"not recorded: {error.message}"
    return "recorded"
