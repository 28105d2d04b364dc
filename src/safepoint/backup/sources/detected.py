"""How a source found what had changed, to be said of the backup; and what happens when summaries were found wrong."""

from __future__ import annotations

from dataclasses import dataclass

from safepoint.backup.sources.changes_known import KnownChanges
from safepoint.backup.sources.reread import Reread
from safepoint.backup.summaries_trust import record_unexplained
from safepoint.model.backup import Detection
from safepoint.postgres.wal_summaries import Doubt
from safepoint.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """See `BackupManifest` for the first three; `warnings` are sentences for whoever runs the backup."""

    detection: Detection
    reason: str = ""
    share: int = 0
    warnings: tuple[str, ...] = ()


def detected(found: KnownChanges | Doubt) -> Detected:
    """What is to be said of a backup of which this was known."""
    if isinstance(found, KnownChanges):
        return Detected(detection=Detection.SUMMARIES, share=found.share)
    warnings = (f"everything was read: {found.why}",) if found.is_alarming else ()
    return Detected(detection=Detection.READ, reason=found.why, warnings=warnings)


def record_findings(repository: Repository, reread: Reread) -> Doubt | None:
    """None when all that was compared is sound. Else summaries of the cluster are not believed any more, durably."""
    for path, pages in reread.unexplained.items():
        record_unexplained(repository, reread.known.cluster, path, sorted(pages), repository.clock())
    if not reread.unexplained:
        return None
    count = sum(map(len, reread.unexplained.values()))
    path, pages = next(iter(reread.unexplained.items()))
    return Doubt(
        f"found {count} pages changed that no WAL summary tells of (the first: page {min(pages)} of {path}), expected "
        "none; summaries of this cluster are not believed until a backup with --trust-summaries",
        is_alarming=True,
    )
