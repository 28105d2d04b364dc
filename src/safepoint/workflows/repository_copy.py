"""`safepoint repository copy`: what another repository lacks is put there."""

from __future__ import annotations

from collections.abc import Sequence

from safepoint import errors
from safepoint.model.json_value import Json
from safepoint.model.measures import format_bytes, format_count
from safepoint.repository import Repository
from safepoint.repository.care.copy import Copied, CopyPlan, copy, plan_copy
from safepoint.repository.care.progress import Report
from safepoint.workflows.care_job import CareJob, care_plan
from safepoint.workflows.repository_location import Located, require_two

_SIBLING = "a sibling: objects go as they are, each checked on its way"
_STRANGER = "a stranger: every file is opened, and sealed anew under the other's keys"
_MEANS = {True: "about", False: "at most"}


def prepare_copy(place: Located, to: Located, backups: Sequence[str], *, as_stranger: bool = False) -> CareJob[Copied]:
    """The plan to copy these backups, or all, with their WAL; opens both and looks what the other lacks.

    CF004 when both are one, BK003 for a backup that the source does not have.
    """
    require_two(place, to)
    source, target = place.open(), to.open()
    _require_two_repositories(place, source, to, target)
    _require_known(source, backups)
    wanted = backups or None
    plan = plan_copy(source, target, backups=wanted, as_stranger=as_stranger)

    def work(report: Report) -> Copied:
        return copy(source, target, backups=wanted, as_stranger=as_stranger, report=report)

    return CareJob(
        plan=care_plan(
            "copy",
            place.name,
            f"copy {format_count(len(plan.backups), 'backup')} and {format_count(plan.objects, 'object')} "
            f"of WAL and records to {to.name}",
            url=place.url,
            facts=[("to", to.url), *_facts(plan)],
            warnings=[finding.text for finding in plan.findings],
            arguments={"to": to.url, "backups": list(backups)},
        ),
        repository=source,
        work=work,
        to_json=copied_to_json,
    )


def copied_to_json(copied: Copied) -> dict[str, Json]:
    """For programs."""
    return {
        "is_whole": copied.is_whole,
        "backups": list(copied.backups),
        "packs": copied.packs,
        "objects": copied.objects,
        "read_bytes": copied.read_bytes,
        "sent_bytes": copied.sent_bytes,
        "findings": [finding.to_json() for finding in copied.findings],
    }


def _facts(plan: CopyPlan) -> list[tuple[str, str]]:
    """The cost, before anything is paid."""
    cost = (
        f"reads {format_bytes(plan.read_bytes)} here, sends {format_bytes(plan.sent_bytes)} there, "
        f"{format_count(plan.requests, 'request')}"
    )
    kept_out = [("not brought back", f"{name}: it was expired there") for name in plan.kept_out]
    return [("is", _SIBLING if plan.is_sibling else _STRANGER), (_MEANS[plan.is_sibling], cost), *kept_out]


def _require_known(source: Repository, backups: Sequence[str]) -> None:
    known = {backup.id for backup in source.readable_backups()[0]}
    for name in backups:
        if name not in known:
            raise errors.BK003.error(
                f"found no backup {name!r} among {len(known)} that can be read, expected one",
                hints=[errors.run("list them: `safepoint backups`")],
            )


def _require_two_repositories(place: Located, source: Repository, to: Located, target: Repository) -> None:
    """Two URLs may lead to one place."""
    if source.id == target.id:
        raise errors.CF004.error(
            f"found repository {source.id} both at {place.url} and at {to.url}, expected two repositories",
            hints=[
                errors.ask("is one a link to the other, or a copy of its files?"),
                errors.run("make one of its own: `safepoint repository init NAME --sibling-of NAME`"),
            ],
        )
