"""`safepoint repository verify`: is every byte of the stored objects what was sealed?"""

from __future__ import annotations

import random
import re

from safepoint.model.json_value import Json
from safepoint.model.measures import format_bytes, format_count, format_duration, parse_duration
from safepoint.model.proof import ProofLevel
from safepoint.repository import Repository
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.verify import VerifiedObjects, VerifyPlan, plan_verify, verify
from safepoint.workflows.care_job import CareJob, care_plan
from safepoint.workflows.repository_location import Located
from safepoint.workflows.verify import record_verification

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_PERCENT = 100


def prepare_verify(place: Located, selection: Selection, what: str) -> CareJob[VerifiedObjects]:
    """Reading the selected objects whole, which `what` names; opens the repository and asks what that costs."""
    repository = place.open()
    plan = plan_verify(repository, selection)
    return CareJob(
        plan=care_plan(
            "verify",
            place.name,
            f"read and authenticate {what}",
            url=place.url,
            facts=_facts(plan, selection),
            arguments={"objects": len(plan.names), "packs": plan.packs, "bytes": plan.size.bytes},
        ),
        repository=repository,
        work=lambda report: _verified(repository, verify(repository, plan, report=report)),
        to_json=verified_to_json,
    )


def _facts(plan: VerifyPlan, selection: Selection) -> list[tuple[str, str]]:
    """The cost, before anything is paid."""
    size = f"{'about ' if plan.size.is_estimate else ''}{format_bytes(plan.size.bytes)}"
    of = f"{format_count(len(plan.names), 'object')} of {plan.objects}, {format_count(plan.packs, 'pack')} among them"
    facts = [("to read", f"{size}: {of}"), ("never verified yet", format_count(plan.unverified, "object"))]
    if selection.round is not None:
        facts.append(("all is read again", f"within {format_duration(selection.round)}, when this is run every day"))
    return facts


def _verified(repository: Repository, found: VerifiedObjects) -> VerifiedObjects:
    """What was found, and what it says of backups recorded: a backup with a damaged pack is no proven one."""
    hit = {affected.backup_id for finding in found.findings if finding.is_damage for affected in finding.affected}
    for backup_id in sorted(hit) if found.is_remembered else ():
        record_verification(repository, backup_id, level=ProofLevel.STORED, is_damaged=True)
    return found


def selection_of(sample: str | None, since: str | None, *, is_all: bool) -> tuple[Selection, str]:
    """What a person asked to be verified, and how to call it; ValueError for what cannot be, or more than one wish."""
    wishes = [name for name, wish in (("--sample", sample), ("--since", since), ("--all", is_all)) if wish]
    if len(wishes) > 1:
        raise ValueError(f"found {' and '.join(wishes)}, expected one of them at most")
    if sample is not None:
        return Selection.sample(parse_share(sample), random.SystemRandom()), f"a random {sample} of the objects"
    if since is not None:
        return Selection.since(parse_duration(since)), f"what was not verified within {since}"
    if is_all:
        return Selection.all(), "everything"
    return Selection.due(), "what is new, and what was read longest ago"


def parse_share(text: str) -> float:
    """`5%` or `0.5%`, as a fraction; ValueError unless it is above zero and at most 100%."""
    match = _SHARE.fullmatch(text)
    share = float(match[1]) / _PERCENT if match else 0.0
    if not 0 < share <= 1:
        raise ValueError(f"found {text!r}, expected a share above 0% and at most 100%, like 5%")
    return share


def verified_to_json(found: VerifiedObjects) -> dict[str, Json]:
    """For programs."""
    return {
        "is_whole": found.is_whole,
        "findings": [finding.to_json() for finding in found.findings],
        "verified": found.verified,
        "bytes": found.bytes,
        "remaining": found.remaining,
        "is_remembered": found.is_remembered,
    }
