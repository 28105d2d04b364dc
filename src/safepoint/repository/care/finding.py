"""What the care of a repository finds: values that check, verification and repair share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from safepoint.model.backup import BackupManifest
from safepoint.model.json_value import Json, JsonObject
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.repository.severity import Severity

MOST_PATHS = 20
"""How many paths of one backup a finding names; it counts all of them."""


class FindingKind(Enum):
    """What is not as it should be."""

    MISSING_PACK = "missing pack"
    DAMAGED_PACK = "damaged pack"
    UNLISTED_PACK = "unlisted pack"
    ORPHAN_PACKS = "orphan packs"
    DAMAGED_INDEX = "damaged index"
    STALE_INDEX = "stale index"
    MISSING_MANIFEST = "missing manifest"
    DAMAGED_MANIFEST = "damaged manifest"
    REPLACED_MANIFEST = "replaced manifest"
    UNDECIDED_MANIFEST = "undecided manifest"
    VOID_MANIFEST = "void manifest"
    DAMAGED_END = "damaged end"
    OPEN_LEASE = "open lease"
    DAMAGED_TOMBSTONE = "damaged tombstone"
    OPEN_TOMBSTONE = "open tombstone"
    DAMAGED_WAL = "damaged wal"
    STRANGE_NAME = "strange name"
    MIXED_WAL = "mixed wal"
    DAMAGED_OBJECT = "damaged object"
    LOCKED_OUT = "locked out"
    JOURNAL = "journal"
    NOT_REMEMBERED = "not remembered"


class Loss(Enum):
    """What a backup loses by a finding."""

    EVERYTHING = "everything"
    FILES = "files"
    WAL = "wal"
    FINGERPRINTS = "fingerprints"
    """Nothing of its content; the next backup cannot be made on top of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """A backup that a finding concerns.

    It is what every instant after `stop_lsn` (`stopped_at`) on `timeline` and its descendants begins from, up to where
    the next backup does as well. Of a manifest that cannot be read only the name is known: it stands for the id, and
    what else is None is unknown. `paths` are the first of the `path_count` files that cannot be read whole, in the
    order of their bytes. Unless `is_complete`, a part of the listing is lost, and so are all files that it named.
    """

    backup_id: str
    loses: Loss
    database: str | None = None
    tier: str | None = None
    timeline: TimelineId | None = None
    stop_lsn: Lsn | None = None
    stopped_at: datetime | None = None
    paths: tuple[str, ...] = ()
    path_count: int = 0
    is_complete: bool = True

    def to_json(self) -> JsonObject:
        """Plain values."""
        return {
            "backup": self.backup_id,
            "loses": self.loses.value,
            "database": self.database,
            "tier": self.tier,
            "timeline": None if self.timeline is None else self.timeline.value,
            "stop_lsn": None if self.stop_lsn is None else str(self.stop_lsn),
            "stopped_at": None if self.stopped_at is None else self.stopped_at.isoformat(),
            "paths": list(self.paths),
            "path_count": self.path_count,
            "is_complete": self.is_complete,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fact, with what was found and what was expected. `objects` are the names in the store that it is about."""

    kind: FindingKind
    severity: Severity
    text: str
    objects: tuple[str, ...] = ()
    affected: tuple[Affected, ...] = ()

    @property
    def is_damage(self) -> bool:
        """Whether something that was stored is proven gone or wrong; otherwise it is unknown, or a notice."""
        return self.severity is Severity.DAMAGED

    def to_json(self) -> JsonObject:
        """Plain values."""
        affected: list[Json] = [backup.to_json() for backup in self.affected]
        return {
            "kind": self.kind.value,
            "severity": self.severity.value,
            "text": self.text,
            "objects": list(self.objects),
            "affected": affected,
        }


def is_whole(findings: Iterable[Finding]) -> bool:
    """Whether nothing is damaged and nothing unknown: notices do not count."""
    return all(finding.severity is Severity.NOTICE for finding in findings)


def affected_backup(manifest: BackupManifest, loses: Loss) -> Affected:
    """The backup with what its manifest tells."""
    return Affected(
        backup_id=manifest.id,
        loses=loses,
        database=manifest.database,
        tier=manifest.tier,
        timeline=manifest.timeline,
        stop_lsn=manifest.stop_lsn,
        stopped_at=manifest.stopped_at,
    )
