"""How a backup will find what changed, as far as that can be said before it begins: a fact of its plan."""

from __future__ import annotations

from safepoint.backup.physical_checks import ServerForBackup
from safepoint.backup.rate_limit import RateLimit
from safepoint.backup.sources.changes_known import why_not_before
from safepoint.backup.sources.port import SourceRequest
from safepoint.backup.summaries_trust import distrust_of
from safepoint.model.backup import BackupManifest
from safepoint.postgres.basebackup import Checkpoint
from safepoint.postgres.url import DatabaseUrl
from safepoint.postgres.wal_summaries import Doubt
from safepoint.repository import Repository

_SUMMARIES_SINCE = 17


def newest_backup(repository: Repository, cluster: str) -> BackupManifest | None:
    """The newest backup of the cluster: what it has is not stored again."""
    backups = repository.readable_backups()[0]
    return next((found for found in reversed(backups) if found.system_identifier == cluster), None)


def doubt_before(
    repository: Repository, url: DatabaseUrl, server: ServerForBackup, cluster: str, *, trusts_summaries: bool
) -> Doubt | None:
    """Why everything will be read; None when WAL summaries will be asked. `trusts_summaries`: believe them again."""
    if server.version.major < _SUMMARIES_SINCE:
        return Doubt(f"PostgreSQL {server.version.major} makes no WAL summaries")
    if not server.summarizes_wal:
        return Doubt("summarize_wal is off")
    if trusts_summaries and distrust_of(repository, cluster) is not None:
        return None
    request = SourceRequest(
        url=url,
        server=server,
        repository=repository,
        label="",
        checkpoint=Checkpoint.FAST,
        limit=RateLimit(),
        parent=newest_backup(repository, cluster),
    )
    return why_not_before(request)
