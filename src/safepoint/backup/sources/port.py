"""What a source of a physical backup's files must do, and what it is given. Knows neither of the two sources.

The conductor (`backup/physical.py`) calls `begin`, `take` and `end` once each, in this order, then `close`; whatever
is raised voids the backup, and then only `close` is called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from safepoint.backup.physical_checks import ServerForBackup
from safepoint.backup.rate_limit import RateLimit
from safepoint.model.backup import BackupManifest, DamagedPage, Detection, Tablespace
from safepoint.postgres.basebackup import BackupPosition, Checkpoint
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository import Ingest, Repository

PIECE_BYTES = 4 * 1024 * 1024
"""Files are handed on in pieces of this size."""

TELL_BYTES = 4 * 1024 * 1024
"""After how many bytes a source tells how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRequest:
    """What a source is asked for. `url` leads to the server whose files are taken, which may be a standby.

    `parent` is the newest backup of the cluster, upon which the ingest is built where it is still there: its files
    are what `ingest.unchanged` and `ingest.changed_pages` refer to. `limit` is to be told of bytes as they are read.
    """

    url: DatabaseUrl
    server: ServerForBackup
    repository: Repository
    label: str
    checkpoint: Checkpoint
    limit: RateLimit
    parent: BackupManifest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Where the backup begins, and about how many bytes are to come."""

    position: BackupPosition
    estimate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenFiles:
    """What there is to say of the files that were taken; see `BackupManifest` for each.

    `warnings` are sentences for whoever runs the backup.
    """

    tablespaces: tuple[Tablespace, ...] = ()
    outside: tuple[tuple[str, str], ...] = ()
    damaged_pages: tuple[DamagedPage, ...] = ()
    detection: Detection = Detection.READ
    detection_reason: str = ""
    share: int = 0
    warnings: tuple[str, ...] = ()


class Source(Protocol):
    """The files of one backup."""

    def begin(self) -> Begun:
        """The server's checkpoint is done, and it is in backup mode until `end` or `close`."""
        ...

    def take(self, ingest: Ingest, tell: Callable[[int], None]) -> TakenFiles:
        """Every file is with the ingest, but `backup_label` where it is known only at the end.

        `tell` is told the bytes read so far, every few megabytes.
        """
        ...

    def end(self) -> BackupPosition:
        """The server is out of backup mode; the files are consistent from the position returned on.

        `backup_label` is with the ingest.
        """
        ...

    def close(self) -> None:
        """No session is left; a server that was in backup mode leaves it. May be called at any time, and twice."""
        ...
