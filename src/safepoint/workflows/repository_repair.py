"""`safepoint repository repair`: what is damaged or missing is mended, from what is left and from copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from safepoint import errors
from safepoint.model.json_value import Json
from safepoint.model.measures import format_bytes, format_count
from safepoint.repository import Repository
from safepoint.repository.care.check import Checked, check
from safepoint.repository.care.finding import Finding, FindingKind
from safepoint.repository.care.progress import Report, no_report
from safepoint.repository.care.repair import plan_repair, repair
from safepoint.repository.care.repair_values import RepairAction, Repaired
from safepoint.workflows.care_job import CareJob, care_plan
from safepoint.workflows.repository_location import Located, require_two

_WHOLE = frozenset({FindingKind.UNLISTED_PACK})


def prepare_repair(place: Located, copies: Sequence[Located], report: Report = no_report) -> CareJob[Repaired]:
    """The plan to mend the repository with the help of these others; opens them all and looks what is wrong.

    CF004 for a copy that is the repository itself, or that was named twice.
    """
    for number, other in enumerate(copies):
        for known in (place, *copies[:number]):
            require_two(known, other)
    repository = place.open()
    helpers = [_opened(repository, place, other) for other in copies]
    checked = check(repository, report=report)
    plan = plan_repair(repository, copies=helpers, damaged=_known_damage(checked), report=report)

    def work(report: Report) -> Repaired:
        done = repair(repository, plan, report=report)
        return replace(done, unrepaired=tuple(_with_affected(finding, checked) for finding in done.unrepaired))

    return CareJob(
        plan=care_plan(
            "repair",
            place.name,
            f"carry out {format_count(len(plan.actions), 'repair')}",
            url=place.url,
            facts=[
                *(("from", other.url) for other in copies),
                *((action.kind.value, _told(action)) for action in plan.actions),
                ("to read", f"{format_bytes(plan.read_bytes)} at most, and about as much to put"),
            ],
            warnings=[f"not mended by this: {finding.text}" for finding in plan.hopeless],
            arguments={"repairs": [action.to_json() for action in plan.actions], "read_bytes": plan.read_bytes},
        ),
        repository=repository,
        work=work,
        to_json=repaired_to_json,
    )


def _told(action: RepairAction) -> str:
    return f"{action.text} ({format_bytes(action.read_bytes)})" if action.read_bytes else action.text


def repaired_to_json(repaired: Repaired) -> dict[str, Json]:
    """For programs."""
    return {
        "is_whole": not repaired.unrepaired,
        "repairs": [action.to_json() for action in repaired.actions],
        "blobs": repaired.blobs,
        "unrepaired": [finding.to_json() for finding in repaired.unrepaired],
    }


def _known_damage(checked: Checked) -> frozenset[str]:
    """What the check found, also of what verifications had found before it."""
    # A pack that no index lists is whole as far as anybody knows: it is listed again, and not rewritten.
    damaged = (finding for finding in checked.findings if finding.is_damage and finding.kind not in _WHOLE)
    return frozenset(name for finding in damaged for name in finding.objects)


def _with_affected(finding: Finding, checked: Checked) -> Finding:
    """The finding with the backups that the check named for the same objects."""
    if finding.affected:
        return finding
    named = [found for found in checked.findings if set(found.objects) & set(finding.objects)]
    affected = {backup.backup_id: backup for found in named for backup in found.affected}
    return replace(finding, affected=tuple(affected.values()))


def _opened(repository: Repository, place: Located, other: Located) -> Repository:
    opened = other.open()
    if opened.id == repository.id:
        raise errors.CF004.error(
            f"found repository {opened.id} both at {place.url} and at {other.url}, expected another one to mend from",
            hints=[errors.ask("is one a link to the other, or a copy of its files?")],
        )
    return opened
