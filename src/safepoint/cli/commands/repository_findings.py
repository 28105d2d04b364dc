"""How findings are shown, what mends them, and how a command that had some ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import typer

from safepoint.cli.show import data, talk
from safepoint.errors import ExitCode
from safepoint.model.measures import format_instant
from safepoint.repository.care.finding import Affected, Finding, FindingKind, Loss
from safepoint.repository.severity import Severity

_NAMES = 5
_MENDS = (
    (frozenset({FindingKind.OPEN_LEASE}), "when its writer is dead: `safepoint repository unlock`"),
    (
        frozenset({FindingKind.ORPHAN_PACKS, FindingKind.STALE_INDEX, FindingKind.VOID_MANIFEST}),
        "delete what nobody needs: `safepoint repository gc`",
    ),
    (frozenset({FindingKind.LOCKED_OUT}), "see which keys open what: `safepoint repository key list`"),
)
_REPAIR = "mend it, from copies where there are any: `safepoint repository repair --from NAME|URL`"
_LOSES = {
    Loss.EVERYTHING: "cannot be restored",
    Loss.FILES: "cannot be restored whole",
    Loss.WAL: "lacks WAL",
    Loss.FINGERPRINTS: "restores; the next backup cannot build on it",
}


def print_findings(findings: Sequence[Finding]) -> None:
    """Each finding on stdout: objects, backups, files and instants that it concerns."""
    for finding in findings:
        data.print(f"{finding.severity.value}: {finding.kind.value}: {finding.text}")
        for line in _details(finding):
            data.print(f"  {line}")


def end_with(findings: Sequence[Finding]) -> None:
    """The commands that mend, as hints; then the exit code that the worst finding asks for."""
    for hint in _hints(findings):
        talk.print(f"hint: {hint}")
    severities = {finding.severity for finding in findings}
    if Severity.DAMAGED in severities:
        raise typer.Exit(ExitCode.DAMAGED)
    if Severity.UNKNOWN in severities:
        raise typer.Exit(ExitCode.ATTENTION)


def verdict(findings: Sequence[Finding]) -> str:
    """In one word, as far as was looked."""
    severities = {finding.severity for finding in findings}
    if Severity.DAMAGED in severities:
        return "damaged"
    return "unknown" if Severity.UNKNOWN in severities else "whole"


def _hints(findings: Sequence[Finding]) -> Iterator[str]:
    if any(finding.is_damage for finding in findings):
        yield _REPAIR
    kinds = {finding.kind for finding in findings}
    for wanted, hint in _MENDS:
        if kinds & wanted:
            yield hint


def _details(finding: Finding) -> Iterator[str]:
    yield from _some("object", finding.objects, len(finding.objects))
    for backup in finding.affected:
        yield _affected(backup)
        for line in _some("file", backup.paths, backup.path_count):
            yield f"  {line}"
        if not backup.is_complete:
            yield "  and files whose names are lost, too"


def _affected(backup: Affected) -> str:
    """Which backup, and which instants begin from it."""
    if backup.stopped_at is None:
        return f"backup {backup.backup_id}: {_LOSES[backup.loses]}"
    instants = f"instants from {format_instant(backup.stopped_at)} on, up to the next backup"
    where = f"{backup.database or 'an unknown database'}, tier {backup.tier or 'unknown'}"
    return f"backup {backup.backup_id} ({where}): {_LOSES[backup.loses]}; concerns {instants}"


def _some(what: str, names: Sequence[str], count: int) -> Iterator[str]:
    shown = names[:_NAMES]
    for name in shown:
        yield f"{what} {name}"
    if count > len(shown):
        yield f"and {count - len(shown)} more; --json names up to {len(names)}"
