"""The manifests that a repair looks at, and what it says of objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safepoint.model.backup import BackupManifest
from safepoint.repository.care.finding import Finding, FindingKind, Loss, affected_backup
from safepoint.repository.care.repair_values import RepairAction, RepairKind
from safepoint.repository.commit.journal_finding import Severity
from safepoint.repository.commit.lease_objects import end_name


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownManifest:
    """A manifest that is or was a backup: its sound bytes, from here or a sibling, and what is to be done with it.

    `source` is None when it is the journal that knows it.

    `action` is None when it is in its place and counts. `lease` is one whose end does not open.
    """

    name: str
    data: bytes
    manifest: BackupManifest
    action: RepairKind | None = None
    source: str | None = None
    lease: str | None = None


def manifest_action(found: KnownManifest) -> RepairAction:
    """What is done about it; FINISH when nothing else is to be."""
    action = found.action or RepairKind.FINISH
    text = f"{action.value} {found.name}, as {found.source or 'the journal'} has it"
    sources = () if found.source is None else (found.source,)
    return RepairAction(kind=action, objects=objects_of(found), text=text, sources=sources)


def objects_of(found: KnownManifest) -> tuple[str, ...]:
    """The manifest, and the end that does not open."""
    return (found.name,) if found.lease is None else (found.name, end_name(found.lease))


def finding_about(
    kind: FindingKind, text: str, objects: Sequence[str], manifest: BackupManifest | None = None
) -> Finding:
    """What is damaged, and the backup that loses files by it."""
    affected = () if manifest is None else (affected_backup(manifest, Loss.FILES),)
    return Finding(kind=kind, severity=Severity.DAMAGED, text=text, objects=tuple(objects), affected=affected)
