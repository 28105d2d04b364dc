"""What the checks judge, as values: gathered elsewhere at one instant. None is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from safepoint.model.coverage import Gap
from safepoint.model.proof import ProofLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSeen:
    """A server that answered, and its clock then."""

    version: str
    is_in_recovery: bool
    clock: datetime


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
    """How one application's folder and ledger compare, by name; with an obstacle nothing else is known."""

    application: str
    applied: int = 0
    pending: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    obstacle: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One database at `now`. An obstacle says why the values beside it are unknown.

    `is_server_down`: it was asked and did not answer, as opposed to not asked. `rpo` is the tightest of the strategy's
    scenarios; None where it states none.
    """

    database: str
    now: datetime
    rpo: timedelta | None
    server: ServerSeen | None
    server_obstacle: str
    is_server_down: bool
    has_repository: bool
    repository_obstacle: str
    backups: tuple[BackupSeen, ...]
    wal: WalSeen | None
    migrations: tuple[MigrationsSeen, ...]

    @property
    def sound_backups(self) -> tuple[BackupSeen, ...]:
        """Those not known to be damaged, oldest first."""
        sound = (backup for backup in self.backups if not backup.is_damaged)
        return tuple(sorted(sound, key=lambda backup: backup.stopped_at))
