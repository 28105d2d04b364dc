"""What the checks judge, as values: gathered elsewhere at one instant. None is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from safepoint.model.coverage import Gap
from safepoint.model.proof import ProofLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSeen:
    """A server that answered."""

    version: str
    is_in_recovery: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSeen:
    """A backup of this cluster; `stopped_at` by the server's clock."""

    id: str
    tier: str
    stopped_at: datetime
    proof: ProofLevel
    is_damaged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WalSeen:
    """WAL in the repository: restorable up to `latest` (None: no mark proves any instant), with these gaps."""

    latest: datetime | None
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationsSeen:
    """How one application's folder and ledger compare, by name."""

    application: str
    applied: int
    pending: tuple[str, ...]
    failed: tuple[str, ...]
    edited: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One database at `now`. An obstacle says why the values beside it are unknown.

    `rpo` is the tightest of the strategy's scenarios; None where it states none.
    """

    database: str
    now: datetime
    rpo: timedelta | None
    server: ServerSeen | None
    server_obstacle: str
    has_repository: bool
    repository_obstacle: str
    backups: tuple[BackupSeen, ...]
    wal: WalSeen | None
    migrations: tuple[MigrationsSeen, ...]
    migrations_obstacle: str
