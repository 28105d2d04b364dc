"""`safepoint repository check`: is all there, as far as metadata tells?"""

from __future__ import annotations

from safepoint.model.json_value import Json
from safepoint.repository.care.check import Checked, check
from safepoint.repository.care.progress import Report
from safepoint.workflows.care_job import CareJob, care_plan
from safepoint.workflows.check_record import record_check
from safepoint.workflows.repository_location import Located


def prepare_check(place: Located) -> CareJob[Checked]:
    """Checking the structure, and the journal against what this machine has seen; opens the repository.

    What was found is put on record where the repository takes it.
    """
    repository = place.open()

    def work(report: Report) -> Checked:
        checked = check(repository, report=report)
        record_check(repository, checked)
        return checked

    plan = care_plan("check", place.name, "read all metadata and look whether everything is there", url=place.url)
    return CareJob(
        plan=plan,
        repository=repository,
        work=work,
        to_json=checked_to_json,
    )


def checked_to_json(checked: Checked) -> dict[str, Json]:
    """For programs."""
    return {
        "is_whole": checked.is_whole,
        "findings": [finding.to_json() for finding in checked.findings],
        "backups": checked.backups,
        "packs": checked.packs,
        "orphan_packs": checked.orphan_packs,
        "indexes": checked.indexes,
        "nodes": checked.nodes,
        "wal_objects": checked.wal_objects,
        "journal_entries": checked.journal_entries,
        "requests": checked.requests,
        "bytes": checked.bytes,
    }
