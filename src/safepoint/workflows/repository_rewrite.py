"""`safepoint repository key reseal` and `repack`: packs are rewritten, under the newest key, or without garbage."""

from __future__ import annotations

from collections.abc import Callable

from safepoint.model.json_value import Json
from safepoint.model.measures import format_bytes
from safepoint.repository import Repository
from safepoint.repository.care.progress import Report
from safepoint.repository.care.rewrite import RewritePlan, Rewritten, plan_repack, plan_reseal, repack, reseal
from safepoint.repository.sealing.keys import generation_label
from safepoint.workflows.care_job import CareJob, care_plan
from safepoint.workflows.repository_location import Located

_OLD_COPIES = (
    "who holds a lost key and a copy of the store made before this still opens that copy; what is not in a pack "
    "(manifests, WAL, records) stays sealed as it was"
)


def prepare_reseal(place: Located) -> CareJob[Rewritten]:
    """The plan to seal with the newest generation what an older one opens; opens the repository and walks backups."""
    repository = place.open()
    plan = plan_reseal(repository)
    newest = generation_label(repository.keyring.generation)
    facts = [("newest generation", newest)]
    return _prepared(place, repository, "reseal", plan, facts, [_OLD_COPIES] if plan.packs else [])


def prepare_repack(place: Located) -> CareJob[Rewritten]:
    """The plan to keep what backups need of packs of which they need little; opens the repository and walks backups."""
    repository = place.open()
    plan = plan_repack(repository)
    freed = plan.read_bytes - plan.written_bytes
    return _prepared(place, repository, "repack", plan, [("frees", f"about {format_bytes(freed)}, at the next gc")], [])


def rewritten_to_json(found: Rewritten) -> dict[str, Json]:
    """For programs."""
    return {
        "packs": found.packs,
        "new_packs": found.new_packs,
        "written_bytes": found.written_bytes,
        "indexes": list(found.indexes),
        "kept": list(found.kept),
        "busy": found.busy,
    }


def _prepared(
    place: Located,
    repository: Repository,
    verb: str,
    plan: RewritePlan,
    facts: list[tuple[str, str]],
    warnings: list[str],
) -> CareJob[Rewritten]:
    costs = f"reads {format_bytes(plan.read_bytes)}, puts about {format_bytes(plan.written_bytes)}"
    busy = [("left alone", f"{plan.busy} packs of writers at work")] if plan.busy else []
    rewrite: Callable[..., Rewritten] = reseal if verb == "reseal" else repack

    def work(report: Report) -> Rewritten:
        return rewrite(repository, plan, report=report)

    return CareJob(
        plan=care_plan(
            verb,
            place.name,
            f"rewrite {len(plan.packs)} packs",
            url=place.url,
            facts=[*facts, ("cost", costs), *busy],
            warnings=warnings,
            arguments={"packs": [pack.pack.hex() for pack in plan.packs[:100]], "count": len(plan.packs)},
        ),
        repository=repository,
        work=work,
        to_json=rewritten_to_json,
    )
