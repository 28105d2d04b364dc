"""`safepoint backup`: a physical backup into the tier's repository, from the source that fits best."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from safepoint import errors
from safepoint.backup.physical import Checkpoint
from safepoint.backup.physical_checks import ServerForBackup, check_server
from safepoint.backup.plan import backup_actions, new_backup_id, plan_backup
from safepoint.backup.sources.choice import Choice, choose_source
from safepoint.backup.sources.expected_detection import doubt_before
from safepoint.backup.summaries_trust import record_trusted
from safepoint.model.backup import BackupManifest, BackupSource, Detection
from safepoint.model.json_value import Json
from safepoint.model.measures import Clock, system_clock
from safepoint.postgres.connect import replication_connection
from safepoint.postgres.replication import ReplicationSession
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository import Repository
from safepoint.steps.execute import Observer, Run, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Plan
from safepoint.strategy import BackupKind, DatabaseStrategy, TierStrategy
from safepoint.workflows.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupJob:
    """A planned backup and what it needs: `url` leads to the server that is copied, `primary` to its primary."""

    plan: Plan
    url: DatabaseUrl
    repository: Repository
    primary: DatabaseUrl | None = None
    strategy: str = field(default="", repr=False)
    trusts_summaries_of: str | None = None

    def execute(self, observer: Observer) -> Run:
        """The backup exists, or it does not and nothing of it is listed. A backup cut short is taken anew.

        Where the summaries of a cluster are to be trusted again, that is on record first.
        """
        if self.trusts_summaries_of is not None:
            record_trusted(self.repository, self.trusts_summaries_of, self.repository.clock())
        with backup_actions(self.url, self.repository, primary=self.primary, strategy=self.strategy) as actions:
            return execute(self.plan, actions=actions, journal=MemoryJournal(), observer=observer)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupWish:
    """What was asked for beside database and tier; `source` None: the best one. `rate_limit` in bytes a second."""

    source: BackupSource | None = None
    from_standby: bool = False
    is_spread: bool = False
    rate_limit: int | None = None
    trusts_summaries: bool = False
    """WAL summaries are believed again, though a page was once found changed that they did not tell of."""


def prepare_backup(
    project: Project,
    name: str | None,
    tier_name: str,
    *,
    wish: BackupWish | None = None,
    clock: Clock = system_clock,
) -> BackupJob:
    """The plan of a backup; CF004, CF006 when the strategy names no such thing. Opens the repository, asks the server.

    BK006 when `from_standby` leads to a primary; BK008 when the files are asked for and are not the server's.
    """
    wish = wish or BackupWish()
    database = project.self_managed(name)
    project.strategy.repository()
    tier = project.strategy.tier(tier_name)
    _require_physical(tier)
    primary = project.database_url(database)
    url = _standby_url(project, database) if wish.from_standby else primary
    repository = project.repository(tier.repositories[0])
    server, cluster = _look(url)
    _require_standby(server, database, wish)
    choice = _choice(database, url, server, cluster, wish)
    trusted = cluster if wish.trusts_summaries else None
    detection = _detection(repository, url, server, cluster, trusts=wish.trusts_summaries)
    plan = plan_backup(
        database.name,
        tier=tier.name,
        backup_id=new_backup_id(database.name, clock()),
        checkpoint=Checkpoint.SPREAD if wish.is_spread else Checkpoint.FAST,
        compression=tier.compression,
        choice=choice,
        rate_limit=wish.rate_limit,
        facts=(*_facts(server), ("changes", detection[0])),
        warnings=(*detection[1:], *_warnings(server)),
    )
    return BackupJob(
        plan=plan,
        url=url,
        repository=repository,
        primary=primary,
        strategy=_text_of(project.strategy.path),
        trusts_summaries_of=trusted,
    )


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
        "source": backup.source.value,
        "is_from_standby": backup.is_from_standby,
        "detection": backup.detection.value,
        "detection_reason": backup.detection_reason,
        "damaged_pages": [[page.path, page.block] for page in backup.damaged_pages],
        "proof": proof,
    }


def _require_physical(tier: TierStrategy) -> None:
    if tier.kind is not BackupKind.PHYSICAL:
        raise errors.CF004.error(
            f'found tier.{tier.name}.kind "{tier.kind.value}", expected "physical": this version takes no other',
            hints=[errors.run(f'set `kind = "physical"` in [tier.{tier.name}], or name another tier')],
        )


def _standby_url(project: Project, database: DatabaseStrategy) -> DatabaseUrl:
    if database.replica is None:
        raise errors.CF004.error(
            f"found no replica of {database.name} in the strategy, expected one to back up from",
            hints=[errors.run(f'add to [database.{database.name}]: `replica = "env:REPLICA_URL"`')],
        )
    return project.url_of(database.replica)


def _look(url: DatabaseUrl) -> tuple[ServerForBackup, str]:
    """What the server is, and its system identifier."""
    server = check_server(url)
    session = ReplicationSession(replication_connection(url))
    try:
        return server, session.identify_system().system_identifier
    finally:
        session.close()


def _require_standby(server: ServerForBackup, database: DatabaseStrategy, wish: BackupWish) -> None:
    if wish.from_standby and not server.is_in_recovery:
        raise errors.BK006.error(
            f"found a primary at the replica of {database.name}, expected a standby",
            hints=[
                errors.ask("was it promoted? Then its WAL goes another way than that of the old primary"),
                errors.run("correct `url` and `replica` in the strategy, or leave `--from-standby` out"),
            ],
        )


def _choice(
    database: DatabaseStrategy, url: DatabaseUrl, server: ServerForBackup, cluster: str, wish: BackupWish
) -> Choice:
    """`data` in the strategy is the primary's directory; a standby's is where that server itself says."""
    data = database.data
    if wish.from_standby:
        data = None if server.data_directory is None else Path(server.data_directory)
    return choose_source(wish.source, url, server, cluster, data)


def _facts(server: ServerForBackup) -> tuple[tuple[str, str], ...]:
    checksums = "verified" if server.has_checksums else "off: damaged pages cannot be told from sound ones"
    return (
        ("server", f"PostgreSQL {server.version}, {'a standby' if server.is_in_recovery else 'the primary'}"),
        ("page checksums", checksums),
    )


def _detection(
    repository: Repository, url: DatabaseUrl, server: ServerForBackup, cluster: str, *, trusts: bool
) -> tuple[str, ...]:
    """How changes will be found as far as that is known before the backup begins; then what to be warned of."""
    doubt = doubt_before(repository, url, server, cluster, ignores_record=trusts)
    if doubt is None:
        return (f"{Detection.SUMMARIES.value}, where they go back to the last backup; all else is read and compared",)
    warnings = (doubt.why, "believe them again: `--trust-summaries`") if doubt.is_alarming else ()
    return (f"{Detection.READ.value}: {doubt.why}", *warnings)


def _warnings(server: ServerForBackup) -> tuple[str, ...]:
    if server.has_checksums:
        return ()
    return ("the cluster has no page checksums: `pg_checksums --enable` on the stopped server adds them",)


def _text_of(path: Path) -> str:
    """The strategy file as it is now; empty where it is gone meanwhile, or no text."""
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8")
    return ""
