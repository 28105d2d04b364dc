"""The journal's audit as part of a check: what it says of objects that nothing else has told of yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from safepoint.repository.care.finding import Affected, Finding, FindingKind, Loss
from safepoint.repository.care.manifest_survey import survey_manifests
from safepoint.repository.commit.journal_audit import AuditReport, Snapshot, audit_journal, look_at_store
from safepoint.repository.commit.journal_finding import JournalFinding, Severity
from safepoint.repository.commit.journal_state import StateKeeper
from safepoint.repository.names import BACKUPS_PREFIX
from safepoint.repository.repository import Repository

SHOWN_DIGITS = 12
"""Of a finding's identity: enough to acknowledge it by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalChecked:
    """What the audit found, and how many entries there are."""

    findings: tuple[Finding, ...]
    entries: int


def check_journal(
    repository: Repository,
    state: StateKeeper,
    digests: Mapping[str, str],
    known: Iterable[Finding],
    *,
    doubted: AbstractSet[str] = frozenset(),
) -> JournalChecked:
    """The audit of the journal against what exists now; `digests` are those of manifests that were read.

    The `doubted` entries are read, with what is new and a share of the rest.
    """
    audited = _audit(repository, state, digests, doubted=doubted)
    told = {name for finding in known if finding.is_damage for name in finding.objects}
    findings = (_finding(found) for found in audited.findings if not told.issuperset(found.objects or ("",)))
    return JournalChecked(findings=(*findings, *_limits(audited)), entries=audited.entries)


def journal_findings(repository: Repository, state: StateKeeper | None = None) -> tuple[JournalFinding, ...]:
    """What the audit finds, acknowledged or not; reads all manifests and every entry, whose turn it may be."""
    digests = survey_manifests(repository).digests
    return _audit(repository, state or repository.journal.keeper, digests, is_full=True).findings


def _audit(
    repository: Repository,
    state: StateKeeper,
    digests: Mapping[str, str],
    *,
    is_full: bool = False,
    doubted: AbstractSet[str] = frozenset(),
) -> AuditReport:
    return audit_journal(
        repository.store,
        repository.keyring,
        repository=repository.id,
        state=state,
        look=lambda: _look(repository, digests),
        is_full=is_full,
        doubted=doubted,
    )


def _look(repository: Repository, digests: Mapping[str, str]) -> Snapshot:
    """What exists: of manifests, those that are backups."""
    stored = look_at_store(repository.store)
    existing = {backup.manifest for backup in repository.backup_state().existing}
    others = {name for name in stored.names if not name.startswith(BACKUPS_PREFIX)}
    return Snapshot(
        names=frozenset(existing | others),
        wal=stored.wal,
        digests={name: digest for name, digest in digests.items() if name in existing},
        generation=repository.keyring.generation,
    )


def _finding(found: JournalFinding) -> Finding:
    affected = tuple(
        Affected(backup_id=name, loses=Loss.EVERYTHING)
        for name in found.objects
        if name.startswith(BACKUPS_PREFIX) and found.severity is Severity.DAMAGED
    )
    handle = "" if found.severity is Severity.NOTICE else f" (finding {found.identity[:SHOWN_DIGITS]})"
    text, objects = f"{found.kind.value}: {found.text}{handle}", found.objects
    return Finding(kind=FindingKind.JOURNAL, severity=found.severity, text=text, objects=objects, affected=affected)


def _limits(audited: AuditReport) -> Iterator[Finding]:
    """What could not be told, because nobody remembered anything."""
    if not audited.entries:
        text = "found no journal: objects that were hidden together with their leases cannot be told"
    elif audited.is_first_look:
        text = "found no memory of this journal on this machine: a store that was rolled back as a whole cannot be told"
    else:
        return
    yield Finding(kind=FindingKind.JOURNAL, severity=Severity.NOTICE, text=text)
