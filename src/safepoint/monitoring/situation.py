"""What the checks judge, as values: gathered elsewhere at one instant. None is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.proof import ProofLevel
from safepoint.model.reach import Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSeen:
    """The receiver's replication slot. `wal_status` as pg_replication_slots has it; `kept_bytes` of WAL wait for it."""

    is_active: bool
    wal_status: str | None
    kept_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSeen:
    """A server that answered, and its clock then.

    `system_identifier` None: the role may not see it. `slot` None: there is none, unless `slot_obstacle` says why it
    was not seen. `archives`: archive_mode is on.
    """

    version: str
    is_in_recovery: bool
    clock: datetime
    system_identifier: str | None
    slot_name: str
    slot: SlotSeen | None
    slot_obstacle: str = ""
    archives: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSeen:
    """A backup of this cluster: it needs WAL of `timeline` from `start` on; `stopped_at` by the server's clock.

    So many pages were `damaged_pages` in the server when it was taken, the first of them `first_damage`.
    """

    id: str
    tier: str
    timeline: TimelineId
    start: Lsn
    stopped_at: datetime
    proof: ProofLevel
    is_damaged: bool
    damaged_pages: int = 0
    first_damage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySeen:
    """The repository: of `objects` so many were `verified`, the last at `verified_at`; some were found damaged since.

    `checked_at` is when its structure was checked last (None: never), with so many findings of damage and of what is
    unknown, `check_found` the gravest. With an obstacle nothing else is known; `was_asked` is False when that came
    before the store was reached.
    """

    obstacle: str = ""
    cure: str = ""
    was_asked: bool = True
    objects: int = 0
    verified: int = 0
    verified_at: datetime | None = None
    damaged: tuple[str, ...] = ()
    checked_at: datetime | None = None
    check_damaged: int = 0
    check_unknown: int = 0
    check_found: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WalSeen:
    """WAL in the repository: with the sound backups restorable up to `latest` (None: no mark proves any instant)."""

    latest: datetime | None
    losses: tuple[Loss, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherWalSeen:
    """WAL in a repository beside the first: every commit up to `latest` (None: no mark says so), unless an obstacle."""

    repository: str
    is_required: bool
    latest: datetime | None = None
    obstacle: str = ""


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
    scenarios, `tier` its first of physical backups; None where it states none. `cluster` is the system identifier of
    the backups. `summaries_doubt` says what WAL summaries did not tell of; empty while they are believed.
    `slot_limit` are the bytes that the strategy lets a slot hold, `other_wal` is in repositories beside the first.
    """

    database: str
    now: datetime
    rpo: timedelta | None
    tier: str | None
    server: ServerSeen | None
    server_obstacle: str
    is_server_down: bool
    has_repository: bool
    repository_obstacle: str
    cluster: str | None
    backups: tuple[BackupSeen, ...]
    wal: WalSeen | None
    migrations: tuple[MigrationsSeen, ...]
    unreadable: tuple[str, ...] = ()
    repository: RepositorySeen | None = None
    summaries_doubt: str = ""
    slot_limit: int | None = None
    other_wal: tuple[OtherWalSeen, ...] = ()

    @property
    def sound_backups(self) -> tuple[BackupSeen, ...]:
        """Those not known to be damaged, oldest first."""
        sound = (backup for backup in self.backups if not backup.is_damaged)
        return tuple(sorted(sound, key=lambda backup: backup.stopped_at))

    @property
    def wal_command(self) -> str:
        """What brings WAL in: of a server that archives, and keeps no slot for us, the pusher."""
        is_pushed = self.server is not None and self.server.archives and self.server.slot is None
        return f"`safepoint wal {'archive' if is_pushed else 'stream'} {self.database}`"

    @property
    def backup_command(self) -> str:
        """What takes a backup, with a tier that the strategy has."""
        if self.tier is None:
            return f'add `[tier.daily]`, `keep = "30d"` to the strategy file, then `safepoint backup {self.database}`'
        return f"`safepoint backup {self.database} --tier {self.tier}`"
