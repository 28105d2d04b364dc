"""`safepoint backup`: a physical backup into the tier's repository, from the source that fits best."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from safepoint import errors
from safepoint.backup.physical import BackupRequest
from safepoint.backup.physical_checks import ServerForBackup, check_server
from safepoint.backup.plan import backup_actions, new_backup_id, plan_backup
from safepoint.backup.sources.choice import Choice, choose_source
from safepoint.backup.sources.expected_detection import doubt_before
from safepoint.backup.summaries_trust import record_trusted
from safepoint.model.backup import BackupSource, Detection
from safepoint.model.measures import Clock, system_clock
from safepoint.postgres.basebackup import Checkpoint
from safepoint.postgres.replication_session import replication_session
from safepoint.postgres.url import DatabaseUrl
from safepoint.postgres.wal_summaries import Doubt
from safepoint.repository import Repository
from safepoint.steps.execute import Observer, Run, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Plan
from safepoint.strategy import BackupKind, DatabaseStrategy, TierStrategy
from safepoint.workflows.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupJob:
    """A planned backup of a cluster and what it needs.

    `url` leads to the server that is copied, `primary` to the same or its primary.
    """

    plan: Plan
    url: DatabaseUrl
    repository: Repository
    primary: DatabaseUrl
    cluster: str
    strategy: str = field(repr=False)
    trusts_summaries: bool

    def execute(self, observer: Observer) -> Run:
        """The backup exists, or it does not and nothing of it is listed. A backup cut short is taken anew.

        Where the summaries of the cluster are to be trusted again, that is on record first.
        """
        if self.trusts_summaries:
            record_trusted(self.repository, self.cluster, self.repository.clock())
        with backup_actions(self.url, self.repository, primary=self.primary, strategy=self.strategy) as actions:
            return execute(self.plan, actions=actions, journal=MemoryJournal(), observer=observer)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupWish:
    """What was asked for beside database and tier; `source` None: the best one. `rate_limit` in bytes a second."""

    source: BackupSource | None = None
    is_from_standby: bool = False
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

    BK006 when `is_from_standby` leads to a primary; BK008 when the files are asked for and are not the server's.
    """
    wish = wish or BackupWish()
    database = project.self_managed(name)
    project.strategy.repository()
    tier = project.strategy.tier(tier_name)
    _require_physical(tier)
    primary = project.database_url(database)
    url = _standby_url(project, database) if wish.is_from_standby else primary
    repository = project.repository(tier.repositories[0])
    server, cluster = _look(url)
    _require_standby(server, database, wish)
    choice = _choice(database, url, server, cluster, wish)
    request = _request(database, tier, choice, wish, clock())
    doubt = doubt_before(repository, url, server, cluster, trusts_summaries=wish.trusts_summaries)
    return BackupJob(
        plan=_plan(request, choice, server, doubt),
        url=url,
        repository=repository,
        primary=primary,
        cluster=cluster,
        strategy=_text_of(project.strategy.path),
        trusts_summaries=wish.trusts_summaries,
    )


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
    with replication_session(url) as session:
        return server, session.identify_system().system_identifier


def _require_standby(server: ServerForBackup, database: DatabaseStrategy, wish: BackupWish) -> None:
    if wish.is_from_standby and not server.is_in_recovery:
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
    if wish.is_from_standby:
        data = None if server.data_directory is None else Path(server.data_directory)
    return choose_source(wish.source, url, server, cluster, data)


def _request(
    database: DatabaseStrategy, tier: TierStrategy, choice: Choice, wish: BackupWish, now: datetime
) -> BackupRequest:
    return BackupRequest(
        backup_id=new_backup_id(database.name, now),
        database=database.name,
        tier=tier.name,
        checkpoint=Checkpoint.SPREAD if wish.is_spread else Checkpoint.FAST,
        compression=tier.compression,
        source=choice.source,
        data=choice.data,
        rate_limit=wish.rate_limit,
    )


def _plan(request: BackupRequest, choice: Choice, server: ServerForBackup, doubt: Doubt | None) -> Plan:
    alarm = (doubt.why, "believe them again: `--trust-summaries`") if doubt is not None and doubt.is_alarming else ()
    return plan_backup(
        request,
        choice.reason,
        facts=(*_facts(server), ("changes", _detection(doubt))),
        warnings=(*alarm, *_warnings(server)),
    )


def _facts(server: ServerForBackup) -> tuple[tuple[str, str], ...]:
    checksums = "verified" if server.has_checksums else "off: damaged pages cannot be told from sound ones"
    return (
        ("server", f"PostgreSQL {server.version}, {'a standby' if server.is_in_recovery else 'the primary'}"),
        ("page checksums", checksums),
    )


def _detection(doubt: Doubt | None) -> str:
    """How changes will be found, as far as that is known before the backup begins."""
    if doubt is None:
        return f"{Detection.SUMMARIES.value}, where they go back to the last backup; all else is read and compared"
    return f"{Detection.READ.value}: {doubt.why}"


def _warnings(server: ServerForBackup) -> tuple[str, ...]:
    if server.has_checksums:
        return ()
    return ("the cluster has no page checksums: `pg_checksums --enable` on the stopped server adds them",)


def _text_of(path: Path) -> str:
    """The strategy file as it is now; empty where it is gone meanwhile, or no text."""
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8")
    return ""
