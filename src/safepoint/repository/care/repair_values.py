"""What a repair will do, and what it did."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from safepoint.model.backup import BackupManifest
from safepoint.model.json_value import JsonObject
from safepoint.repository.care.finding import Finding, FindingKind, Loss, affected_backup
from safepoint.repository.repository import Repository
from safepoint.repository.severity import Severity


class RepairKind(Enum):
    """A way of repairing; in this order they are done."""

    FINISH = "finish"
    """An exchange that was interrupted is ended."""
    PUT_BACK = "put back"
    """A manifest that is missing is fetched from a sibling."""
    EXCHANGE = "exchange"
    """An object that does not open is exchanged for a sibling's."""
    COMMIT_AGAIN = "commit again"
    """A backup whose end does not open, or is gone, is committed once more: a sibling knows it as a backup."""
    INDEX = "index"
    """Packs that no index lists are listed, and indexes that do not open are superseded."""
    LINK = "link"
    """References to packs that are gone are led to packs that have their blobs."""
    REFILL = "refill"
    """The blobs of a damaged or missing pack are put into a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairAction:
    """One repair: of these objects, with the help of any of these repositories (their ids).

    `read_bytes` are read for it from here and from there at most, beside metadata, and about as many are put.
    """

    kind: RepairKind
    objects: tuple[str, ...]
    text: str
    sources: tuple[str, ...] = ()
    read_bytes: int = 0

    def to_json(self) -> JsonObject:
        """Plain values."""
        return {
            "kind": self.kind.value,
            "objects": list(self.objects),
            "text": self.text,
            "sources": list(self.sources),
            "read_bytes": self.read_bytes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairScope:
    """What is to be repaired, and what may help: siblings have its keys, strangers copies of its backups.

    `damaged` are the objects that a check or a verification named.
    """

    repository: Repository
    siblings: tuple[Repository, ...] = ()
    strangers: tuple[Repository, ...] = ()
    damaged: frozenset[str] = frozenset()

    @classmethod
    def of(cls, repository: Repository, copies: Sequence[Repository], damaged: Collection[str]) -> RepairScope:
        """With the copies told apart."""
        family = repository.description.family
        return cls(
            repository=repository,
            siblings=tuple(copy for copy in copies if copy.description.family == family),
            strangers=tuple(copy for copy in copies if copy.description.family != family),
            damaged=frozenset(damaged),
        )

    @property
    def helpers(self) -> tuple[str, ...]:
        """The ids of all copies."""
        return tuple(copy.id for copy in (*self.siblings, *self.strangers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What was repaired, and what was not."""

    actions: tuple[RepairAction, ...] = ()
    blobs: int = 0
    unrepaired: tuple[Finding, ...] = ()

    def __add__(self, other: Repaired) -> Repaired:
        return Repaired(
            actions=self.actions + other.actions,
            blobs=self.blobs + other.blobs,
            unrepaired=self.unrepaired + other.unrepaired,
        )


def finding_about(
    kind: FindingKind, text: str, objects: Sequence[str], manifest: BackupManifest | None = None
) -> Finding:
    """What is damaged, and the backup that loses files by it."""
    affected = () if manifest is None else (affected_backup(manifest, Loss.FILES),)
    return Finding(kind=kind, severity=Severity.DAMAGED, text=text, objects=tuple(objects), affected=affected)
