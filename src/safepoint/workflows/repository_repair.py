"""`safepoint repository repair`: what is damaged or missing is mended, from what is left and from copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from safepoint import errors
from safepoint.model.json_value import Json
from safepoint.repository import Repository
from safepoint.repository.care.check import Checked, check
from safepoint.repository.care.finding import Finding, FindingKind
from safepoint.repository.care.journalled_store import with_journalled_indexes
from safepoint.repository.care.progress import Report
from safepoint.repository.care.remembered_damage import remembered_damage
from safepoint.repository.care.repair import plan_repair, repair
from safepoint.repository.care.repair_values import Repaired
from safepoint.workflows.care_job import CareJob, care_plan
from safepoint.workflows.repository_source import Located, require_two

_WHOLE = frozenset({FindingKind.UNLISTED_PACK})


def prepare_repair(place: Located, copies: Sequence[Located]) -> CareJob[Repaired]:
    """The plan to mend the repository with the help of these others; opens them all and looks what is wrong.

    CF004 for a copy that is the repository itself, or that was named twice.
    """
    for number, other in enumerate(copies):
        for known in (place, *copies[:number]):
            require_two(known, other)
    repository = place.open()
    helpers = [_opened(repository, place, other) for other in copies]
    checked = check(repository)
    damaged = _known_damage(repository, checked)
    plan = plan_repair(repository, copies=helpers, damaged=damaged)

    def work(report: Report) -> Repaired:
        done = repair(with_journalled_indexes(repository), copies=helpers, damaged=damaged, report=report)
        return replace(done, unrepaired=tuple(_with_affected(finding, checked) for finding in done.unrepaired))

    return CareJob(
        plan=care_plan(
            "repair",
            place.name,
            f"carry out {len(plan.actions)} repairs",
            url=place.url,
            facts=[
                *(("from", other.url) for other in copies),
                *((action.kind.value, action.text) for action in plan.actions),
            ],
            warnings=[f"not mended by this: {finding.text}" for finding in plan.hopeless],
            arguments={"repairs": [action.to_json() for action in plan.actions]},
        ),
        repository=repository,
        work=work,
        to_json=repaired_to_json,
    )


def repaired_to_json(repaired: Repaired) -> dict[str, Json]:
    """For programs."""
    return {
        "is_whole": not repaired.unrepaired,
        "repairs": [action.to_json() for action in repaired.actions],
        "blobs": repaired.blobs,
        "unrepaired": [finding.to_json() for finding in repaired.unrepaired],
    }


def _known_damage(repository: Repository, checked: Checked) -> frozenset[str]:
    """What the check found, and what verifications found and is so still."""
    # A pack that no index lists is whole as far as anybody knows: it is listed again, and not rewritten.
    damaged = (finding for finding in checked.findings if finding.is_damage and finding.kind not in _WHOLE)
    found = {name for finding in damaged for name in finding.objects}
    return frozenset(found | remembered_damage(repository).keys())


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
