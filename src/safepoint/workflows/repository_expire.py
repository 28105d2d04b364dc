"""`safepoint repository expire`: one backup does not exist any more. What only it needed is left to a collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.model.json_value import Json
from safepoint.model.measures import format_instant
from safepoint.model.proof import ProofLevel
from safepoint.repository import Repository
from safepoint.repository.reserve import with_room
from safepoint.workflows.care_job import CareJob, care_plan
from safepoint.workflows.held import NOT_READ, Proven, proofs_of
from safepoint.workflows.repository_location import Located


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """The backup that was given up, by its id, or by its manifest's name when that does not open."""

    backup: str
    reason: str


def prepare_expiry(place: Located, backup: str, *, reason: str, force: bool) -> CareJob[Expired]:
    """The plan to expire the backup of this id, or the manifest of this name; BK003 when there is none.

    BK007, unless with `force`, for the newest proven backup of its database, and where none is proven, or that cannot
    be known, for its newest.
    """
    repository = place.open()
    readable, _ = repository.readable_backups()
    found = next((each for each in readable if each.id == backup), None)
    if found is None:
        _require_lost(repository, backup)
    elif not force:
        _require_better(repository, found, [each for each in readable if each.database == found.database])
    plan = care_plan(
        "expire",
        place.name,
        f"expire {backup}",
        url=place.url,
        facts=[("reason", reason), *_facts(found)],
        warnings=["it cannot be taken back", *(_last(found, readable) if found else ())],
        arguments={"backup": backup, "reason": reason},
    )

    def work(_report: object) -> Expired:
        with_room(repository.store, lambda: repository.expire_backup(backup, reason=reason))
        return Expired(backup=backup, reason=reason)

    return CareJob(plan=plan, repository=repository, work=work, to_json=expired_to_json)


def expired_to_json(expired: Expired) -> dict[str, Json]:
    """For programs."""
    return {"expired": expired.backup, "reason": expired.reason}


def _require_lost(repository: Repository, name: str) -> None:
    """A backup that does not open can be given up by the name of its manifest, or of its lease's end."""
    state = repository.backup_state()
    names = {*(backup.manifest for backup in (*state.existing, *state.missing)), *state.unbegun}
    names |= repository.claimed_backups()
    lease = name.rpartition("/")[2]
    if name not in names and not any(end.split("/")[1] == lease for end in state.unreadable):
        raise errors.BK003.error(
            f"found no backup {name!r} among {len(names)}, expected one",
            hints=[errors.run("list them: `safepoint backups`")],
        )


def _require_better(repository: Repository, backup: BackupManifest, others: Sequence[BackupManifest]) -> None:
    kept, why = _best(repository, others)
    if backup.id == kept.id:
        raise errors.BK007.error(
            f"found {backup.id} to be {why} of {backup.database}, expected another to be expired",
            hints=[
                errors.ask("is it the backup you mean? then prove another one first: `safepoint verify`"),
                errors.run(f"when it must go: `safepoint repository expire {backup.id} --reason TEXT --force`"),
            ],
        )


def _best(repository: Repository, backups: Sequence[BackupManifest]) -> tuple[BackupManifest, str]:
    """The newest that is proven, otherwise the newest."""
    try:
        proofs = proofs_of(repository)
    except errors.Damaged as error:
        return backups[-1], f"the newest backup (which are proven cannot be known: {error.message})"
    proven = [backup for backup in backups if _is_proven(proofs.get(backup.id, NOT_READ))]
    return (proven[-1], "the newest proven backup") if proven else (backups[-1], "the newest backup, none proven,")


def _is_proven(proof: Proven) -> bool:
    return proof.level.rank > ProofLevel.STORED.rank and not proof.is_damaged


def _facts(backup: BackupManifest | None) -> list[tuple[str, str]]:
    if backup is None:
        return [("backup", "its manifest does not open, or is missing")]
    return [("backup", f"{backup.database}, tier {backup.tier}, ended {format_instant(backup.stopped_at)}")]


def _last(backup: BackupManifest, backups: Sequence[BackupManifest]) -> list[str]:
    if sum(each.database == backup.database for each in backups) > 1:
        return []
    return [f"it is the only backup of {backup.database}: nothing of it can be restored afterwards"]
