"""`safepoint repository gc`: what no backup needs is deleted, beside writers at work."""

from __future__ import annotations

from safepoint.model.json_value import Json
from safepoint.model.measures import format_bytes
from safepoint.repository import Repository
from safepoint.repository.care.collect import collect, plan_collection
from safepoint.repository.care.collection_values import Collected
from safepoint.repository.care.progress import Report
from safepoint.repository.commit.leases import OpenLease, open_leases
from safepoint.workflows.care_job import CareJob, care_plan
from safepoint.workflows.repository_location import Located

_FORCED = "all open leases are ended: a writer that is at work loses its backup, which must be taken again"


def prepare_gc(place: Located, *, is_dry_run: bool, force: bool) -> CareJob[Collected]:
    """The plan to collect, or with `is_dry_run` to find out what a collection would do; opens the repository."""
    repository = place.open()
    now = repository.clock()
    leases = open_leases(repository.store, repository.keyring)
    title = "find out what no backup needs" if is_dry_run else "delete what no backup needs"
    plan = care_plan(
        "gc",
        place.name,
        title,
        url=place.url,
        facts=[(f"open lease {lease.id}", lease.describe(now)) for lease in leases],
        warnings=[_FORCED] if force and leases else [],
    )

    def work(report: Report) -> Collected:
        if is_dry_run:
            return plan_collection(repository, force=force)
        return collect(repository, force=force, report=report)

    return CareJob(
        plan=plan, repository=repository, work=work, to_json=lambda found: collected_to_json(found, repository)
    )


def collected_to_json(collected: Collected, repository: Repository) -> dict[str, Json]:
    """For programs."""
    now = repository.clock()
    return {
        "needed_packs": collected.referenced_packs,
        "spared_packs": collected.spared_packs,
        "deleted_packs": collected.deleted_packs,
        "deleted_bytes": collected.deleted_bytes,
        "removed_manifests": list(collected.removed_manifests),
        "revoked": [lease.id for lease in collected.revoked],
        "waiting": [
            {
                "packs": waiting.packs,
                "stored_bytes": waiting.stored_bytes,
                "leases": [{"lease": lease.id, "writer": lease.describe(now)} for lease in waiting.leases],
            }
            for waiting in collected.waiting
        ],
        "undeletable": list(collected.undeletable),
        "unreadable": list(collected.unreadable),
        "strangers": list(collected.strangers),
    }


def describe_collected(collected: Collected, repository: Repository, *, is_dry_run: bool) -> list[tuple[str, str]]:
    """Lines for people: what went, or would go, and what the rest waits for."""
    goes = "would delete" if is_dry_run else "deleted"
    lines = [
        ("needed", f"{collected.referenced_packs} packs"),
        (goes, f"{collected.deleted_packs} packs, {format_bytes(collected.deleted_bytes)}"),
        *((goes, name) for name in collected.removed_manifests),
        *(("would end" if is_dry_run else "ended", _describe(lease, repository)) for lease in collected.revoked),
    ]
    if collected.spared_packs:
        lines.append(("left alone", f"{collected.spared_packs} packs of writers at work"))
    for waiting in collected.waiting:
        lines.append(("waits", f"{waiting.packs} packs, {format_bytes(waiting.stored_bytes)}, for:"))
        lines += [("", _describe(lease, repository)) for lease in waiting.leases]
    lines += [("refused to go", name) for name in collected.undeletable]
    lines += [("does not open", name) for name in collected.unreadable]
    return lines + [("passed over", f"{name}, put by nobody who has the key") for name in collected.strangers]


def _describe(lease: OpenLease, repository: Repository) -> str:
    return f"lease {lease.id}: {lease.describe(repository.clock())}"
