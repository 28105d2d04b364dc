"""What the strategy file says, as frozen values: the only form in which other rooms see it.

Everything here was validated as a whole by `load`; nothing here reads the environment, a secret or the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Protocol, TypeVar

from safepoint import errors


class ReferenceScheme(Enum):
    """Where a value is kept. LITERAL: it stands in the file itself, which only values without a secret may."""

    ENV = "env"
    FILE = "file"
    CMD = "cmd"
    LITERAL = "literal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A value's whereabouts, safe to print; `references.resolve` fetches the value."""

    scheme: ReferenceScheme
    target: str

    def __str__(self) -> str:
        return self.target if self.is_literal else f"{self.scheme.value}:{self.target}"

    @property
    def is_literal(self) -> bool:
        """Whether the value itself stands in the file."""
        return self.scheme is ReferenceScheme.LITERAL


class Platform(Enum):
    """Who runs the servers."""

    SELF_MANAGED = "self-managed"
    PATRONI = "patroni"
    RDS = "rds"


class BackupKind(Enum):
    """physical: files and WAL; logical: pg_dump into the repository; plain: one pg_dump archive beside its metadata."""

    PHYSICAL = "physical"
    LOGICAL = "logical"
    PLAIN = "plain"


class RepositoryMode(Enum):
    """Required: WAL is acknowledged only when it is durable here too. Eventual: refilled from a required one."""

    REQUIRED = "required"
    EVENTUAL = "eventual"


class Recover(Enum):
    """The runbook of a scenario."""

    RESTORE_LATEST = "restore-latest"
    RESTORE_TO_TIME = "restore-to-time"
    FAILOVER_TO_REPLICA = "failover-to-replica"


class DrillTarget(Enum):
    """What a drill restores to."""

    RANDOM_SECOND = "random-second"
    LATEST = "latest"


class ContractTrigger(Enum):
    """Who lets a release drop the old shape."""

    MANUAL = "manual"


class Unrepresentable(Enum):
    """What an undo does with writes that the old shape cannot hold."""

    KEEP_ASIDE = "keep-aside"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Five cron fields: minute, hour, day of month, month, day of week; all valid, and some day matches."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationsStrategy:
    """One application that migrates the database: `folder` is absolute, `schema` holds its ledger."""

    name: str
    folder: Path
    schema: str = "public"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseStrategy:
    """One database. What says where a server is (url, data, replica, instance, region, api) is never inherited."""

    name: str
    url: Reference
    direct_url: Reference | None = None
    platform: Platform = Platform.SELF_MANAGED
    data: Path | None = None
    replica: Reference | None = None
    of: str | None = None
    instance: str | None = None
    region: str | None = None
    api: tuple[Reference, ...] = ()
    migrations: tuple[MigrationsStrategy, ...] = ()

    @property
    def connection(self) -> Reference:
        """What safepoint connects to: `direct_url` if there is one, for locks and replication break on a pooler."""
        return self.direct_url or self.url

    def application(self, name: str | None = None) -> MigrationsStrategy:
        """The application of that name, or the only one; CF004 otherwise."""
        return _chosen(self.migrations, name, f"[database.{self.name}.migrations.NAME]")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryStrategy:
    """One repository. `key` is None when the file says `key = "none"`: not encrypted, on purpose."""

    name: str
    url: Reference
    key: Reference | None
    sibling_of: str | None = None
    mode: RepositoryMode = RepositoryMode.REQUIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class WalStrategy:
    """Within `keep` any instant of this database is to be restorable.

    `repositories` take its WAL (none named: all). A `canary` row is written so often, if at all. `slot_limit` are the
    bytes of WAL that a server may hold back for a slot before that is an alarm; None: what the server itself allows.
    """

    name: str
    keep: timedelta
    repositories: tuple[str, ...] = ()
    canary: timedelta | None = None
    slot_limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TierStrategy:
    """A kind of backup, how long it is kept, and in which repositories (named, at least one, the first is written).

    `compression` is the level of zstd for what the backup adds.
    """

    name: str
    keep: timedelta
    kind: BackupKind = BackupKind.PHYSICAL
    schedule: Schedule | None = None
    compression: int = 1
    repositories: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillStrategy:
    """A rehearsed recovery, proven by queries."""

    name: str
    schedule: Schedule | None = None
    target: DrillTarget = DrillTarget.RANDOM_SECOND
    queries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioStrategy:
    """A contract: back within `rto`, having lost at most `rpo`."""

    name: str
    rto: timedelta
    rpo: timedelta
    recover: Recover


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateStrategy:
    """How a migration may disturb: one attempt waits `lock_timeout`, all attempts together `lock_total`."""

    lock_timeout: timedelta = timedelta(seconds=2)
    lock_total: timedelta = timedelta(minutes=5)
    max_waiters: int = 5
    soak: timedelta = timedelta(days=7)
    contract: ContractTrigger = ContractTrigger.MANUAL
    unrepresentable: Unrepresentable = Unrepresentable.KEEP_ASIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyStrategy:
    """Who hears of success and failure: `sns:` and `mailto:` may stand in the file, what holds a token may not."""

    success: tuple[Reference, ...] = ()
    failure: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """The whole file, in its own order. `stated` names every key that was written, as opposed to defaulted."""

    path: Path
    databases: tuple[DatabaseStrategy, ...]
    repositories: tuple[RepositoryStrategy, ...] = ()
    wal: tuple[WalStrategy, ...] = ()
    tiers: tuple[TierStrategy, ...] = ()
    drills: tuple[DrillStrategy, ...] = ()
    scenarios: tuple[ScenarioStrategy, ...] = ()
    migrate: MigrateStrategy = MigrateStrategy()
    notify: NotifyStrategy = NotifyStrategy()
    stated: tuple[tuple[str, ...], ...] = ()

    @property
    def directory(self) -> Path:
        """The folder of the strategy file: what relative paths in it are relative to."""
        return self.path.parent

    @property
    def dotenv_folders(self) -> tuple[Path, ...]:
        """Where Prisma reads `.env` from: the project's folder, then those that hold a migrations folder."""
        beside = (application.folder.parent for database in self.databases for application in database.migrations)
        return tuple(dict.fromkeys((self.directory, *beside)))

    def database(self, name: str | None = None) -> DatabaseStrategy:
        """The database of that name, or the only one; CF004 otherwise."""
        return _chosen(self.databases, name, "[database.NAME]")

    def repository(self, name: str | None = None) -> RepositoryStrategy:
        """The repository of that name, or the first; CF004 for an unknown name, CF006 if there is none at all."""
        if not self.repositories:
            raise errors.CF006.error(
                f"found no [repository] in {self.path}, expected at least one",
                hints=[
                    errors.ask("where shall backups and WAL go? a folder on another disk or host will do"),
                    errors.run(f'add to {self.path.name}: `[repository.main]`, `url = "file:/…"`, `key = "env:…"`'),
                ],
            )
        return _chosen(self.repositories, name or self.repositories[0].name, "[repository.NAME]")

    def tier(self, name: str) -> TierStrategy:
        """The tier of that name; CF004 otherwise."""
        return _chosen(self.tiers, name, "[tier.NAME]")

    def scenario(self, name: str) -> ScenarioStrategy:
        """The scenario of that name; CF004 otherwise."""
        return _chosen(self.scenarios, name, "[scenario.NAME]")

    def wal_of(self, database: str) -> WalStrategy | None:
        """The WAL window of a database, if the file states one."""
        return next((wal for wal in self.wal if wal.name == database), None)

    def wal_repositories(self, database: str) -> tuple[RepositoryStrategy, ...]:
        """Those that take a database's WAL, required ones first; CF006 when the strategy has none."""
        self.repository()
        wal = self.wal_of(database)
        names = (wal.repositories if wal else ()) or tuple(repository.name for repository in self.repositories)
        chosen = (self.repository(name) for name in names)
        return tuple(sorted(chosen, key=lambda repository: repository.mode is not RepositoryMode.REQUIRED))


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Named)


def _chosen(values: Iterable[_N], name: str | None, section: str) -> _N:
    """The value of that name, or the only one if no name is given."""
    named = {value.name: value for value in values}
    if name in named:
        return named[name]
    if name is None and len(named) == 1:
        return next(iter(named.values()))
    known = ", ".join(named) or "none"
    if name is None:
        raise errors.CF004.error(
            f"found no name, expected one of the names of {section} (known: {known})",
            hints=[errors.run("name the one you mean")],
        )
    from difflib import get_close_matches  # noqa: PLC0415 - only a wrong name needs it

    close = get_close_matches(name, named, n=1)
    add = errors.run(f"{'name one of these, or ' if named else ''}add {section} to the strategy file")
    raise errors.CF004.error(
        f'found "{name}", expected the name of a {section} (known: {known})',
        hints=[errors.ask(f'did you mean "{close[0]}"?')] if close else [add],
    )
