"""`safepoint repository unlock`: the lease of a writer that died ends now, instead of a day after it was last heard of.

Harmless to data: a writer that lives after all loses its backup, never makes a broken one. So the only thing to guard
is its work, and a lease that was heard of within the hour is left alone unless that is insisted on.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from safepoint import errors
from safepoint.model.json_value import Json
from safepoint.model.measures import format_instant
from safepoint.repository import Repository
from safepoint.repository.care.progress import Progress, Report
from safepoint.repository.commit.lease_objects import Outcome
from safepoint.repository.commit.leases import OpenLease, open_leases, revoke
from safepoint.workflows.care_job import CareJob, care_plan
from safepoint.workflows.repository_source import Located

LATELY = timedelta(hours=1)
_WARNING = "a writer that holds one of these leases loses its work: its backup is void, and must be taken again"
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlocked:
    """Leases that ended by this, and those whose writers were faster: their backups exist, or they gave up."""

    revoked: tuple[OpenLease, ...]
    too_late: tuple[tuple[OpenLease, str], ...]


def prepare_unlock(place: Located, lease: str | None, *, stale: bool, force: bool) -> CareJob[Unlocked]:
    """The plan to end the lease whose id begins so, the only open one without that, or all that are stale.

    RP012 when there is not exactly one such lease, or when it was heard of within an hour, or at an unknown time,
    unless with `force`.
    """
    repository = place.open()
    now = repository.clock()
    opened = open_leases(repository.store, repository.keyring)
    chosen = [each for each in opened if each.is_stale(now)] if stale else _named(opened, lease, now)
    if not force:
        _require_silence(chosen, now)
    plan = care_plan(
        "unlock",
        place.name,
        _title(chosen, stale=stale),
        url=place.url,
        facts=[(f"lease {each.id}", each.describe(now)) for each in chosen],
        warnings=[_WARNING] if chosen else [],
        arguments={"leases": [each.id for each in chosen]},
    )
    return CareJob(
        plan=plan,
        repository=repository,
        work=lambda report: _unlock(repository, chosen, report),
        to_json=unlocked_to_json,
    )


def unlocked_to_json(unlocked: Unlocked) -> dict[str, Json]:
    """What came of it, for programs."""
    return {
        "revoked": [_lease_to_json(lease) for lease in unlocked.revoked],
        "too_late": [{**_lease_to_json(lease), "end": end} for lease, end in unlocked.too_late],
    }


def _lease_to_json(lease: OpenLease) -> dict[str, Json]:
    return {
        "lease": lease.id,
        "purpose": lease.purpose,
        "database": lease.database,
        "host": lease.host,
        "pid": lease.pid,
        "begun_at": None if lease.begun_at is None else lease.begun_at.isoformat(),
        "seen_at": None if lease.seen_at is None else lease.seen_at.isoformat(),
    }


def _unlock(repository: Repository, leases: Sequence[OpenLease], report: Report) -> Unlocked:
    """Killed here: some have ended, the same command ends the others."""
    by = f"unlock on {socket.gethostname()}"
    revoked: list[OpenLease] = []
    too_late: list[tuple[OpenLease, str]] = []
    for done, lease in enumerate(leases, 1):
        end = revoke(repository.store, repository.keyring, lease.id, by=by, clock=repository.clock)
        if end.outcome is Outcome.REVOKED:
            revoked.append(lease)
        else:
            too_late.append((lease, end.outcome.value))
        report(Progress(done=done, total=len(leases), unit="leases"))
    return Unlocked(revoked=tuple(revoked), too_late=tuple(too_late))


def _named(opened: Sequence[OpenLease], beginning: str | None, now: datetime) -> list[OpenLease]:
    found = [lease for lease in opened if beginning is None or lease.id.startswith(beginning)]
    if len(found) == 1 or (beginning is None and not found):
        return found
    what = "leases open" if beginning is None else f"open leases that begin with {beginning!r}"
    shown = [f"{lease.id}: {lease.describe(now)}" for lease in opened[:_SHOWN]]
    more = [f"and {len(opened) - _SHOWN} more"] if len(opened) > _SHOWN else []
    raise errors.RP012.error(
        f"found {len(found)} {what} among {len(opened)}, expected one",
        hints=[*map(errors.ask, (*shown, *more)), errors.run("name it: `safepoint repository unlock LEASE`")],
    )


def _require_silence(leases: Sequence[OpenLease], now: datetime) -> None:
    for lease in leases:
        if lease.seen_at is None or now - lease.seen_at < LATELY:
            heard = "at an unknown time" if lease.seen_at is None else f"at {format_instant(lease.seen_at)}"
            raise errors.RP012.error(
                f"found lease {lease.id} ({lease.describe(now)}), heard of {heard}, expected nothing of it for an hour",
                hints=[
                    errors.ask(f"is process {lease.pid or 'unknown'} on {lease.host or 'its host'} still at work?"),
                    errors.run(f"when it is dead: `safepoint repository unlock {lease.id} --force`; its work is lost"),
                ],
            )


def _title(leases: Sequence[OpenLease], *, stale: bool) -> str:
    if leases:
        return f"end {', '.join(lease.id for lease in leases)}"
    return "end nothing: no open lease is stale" if stale else "end nothing: no lease is open"
