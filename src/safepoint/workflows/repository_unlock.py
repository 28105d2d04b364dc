"""`safepoint repository unlock`: the lease of a writer that died ends now, instead of a day after it was last heard of.

Harmless to data: a writer that lives after all loses its backup, never makes a broken one. So the only thing to guard
is its work: a lease that was heard of within the hour is left alone unless its process is proven gone, or that is
insisted on. A lease is never ended when the journal calls its backup one: then its end was there, and is hidden.
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
from safepoint.workflows.repository_location import Located

LATELY = timedelta(hours=1)
_WARNING = "a writer that holds one of these leases loses its work: its backup is void, and must be taken again"
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlocked:
    """Leases that ended by this, and those whose writers were faster: their backups exist, or they gave up."""

    revoked: tuple[OpenLease, ...]
    too_late: tuple[tuple[OpenLease, str], ...]


def prepare_unlock(
    place: Located, lease: str | None, *, stale: bool, force: bool, is_dry_run: bool = False
) -> CareJob[Unlocked]:
    """The plan to end the lease whose id begins so, the only open one without that, or all that are stale or dead.

    RP012 when there is not exactly one such lease, or when it was heard of within an hour, or at an unknown time, and
    its process is not proven gone, unless with `force`; a dry run says that as a warning. RP011 when the journal calls
    its backup one.
    """
    repository = place.open()
    now = repository.clock()
    opened = open_leases(repository.store, repository.keyring)
    chosen = [each for each in opened if each.is_stale(now) or each.why_dead()] if stale else _named(opened, lease, now)
    _require_unclaimed(repository, chosen)
    lively = None if force else _not_silent(chosen, now)
    if lively is not None and not is_dry_run:
        raise lively
    plan = care_plan(
        "unlock",
        place.name,
        _title(chosen, stale=stale),
        url=place.url,
        facts=[(f"lease {each.id}", _describe(each, now)) for each in chosen],
        warnings=_warnings(chosen, lively),
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
        "why_dead": lease.why_dead(),
    }


def _unlock(repository: Repository, leases: Sequence[OpenLease], report: Report) -> Unlocked:
    """Killed here: some have ended, the same command ends the others."""
    by = f"unlock on {socket.gethostname()}"
    revoked: list[OpenLease] = []
    too_late: list[tuple[OpenLease, str]] = []
    for done, lease in enumerate(leases, 1):
        _require_unclaimed(repository, [lease])
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


def _require_unclaimed(repository: Repository, leases: Sequence[OpenLease]) -> None:
    """A backup is journalled after its lease ended with it: an open lease of one has an end that is hidden."""
    claimed = repository.claimed_backups() if leases else frozenset[str]()
    existing = {backup.manifest for backup in repository.backup_state().existing} if claimed else set[str]()
    for lease in leases:
        for name in sorted(name for name in claimed - existing if lease.makes(name)):
            raise errors.RP011.error(
                f"found lease {lease.id} open and the journal calling {name} a backup, expected the lease to have "
                "ended with it",
                hints=[
                    errors.ask("was the end of the lease deleted or hidden? To end it otherwise would void the backup"),
                    errors.run("put the end back, from a copy: `safepoint repository repair --from NAME|URL`"),
                    errors.run(f"or give the backup up: `safepoint repository expire {name} --reason TEXT`"),
                ],
            )


def _not_silent(leases: Sequence[OpenLease], now: datetime) -> errors.SafepointError | None:
    """RP012 for the first that may be a living writer's."""
    for lease in leases:
        if lease.why_dead() is None and (lease.seen_at is None or now - lease.seen_at < LATELY):
            heard = "at an unknown time" if lease.seen_at is None else f"at {format_instant(lease.seen_at)}"
            return errors.RP012.error(
                f"found lease {lease.id} ({lease.describe(now)}), heard of {heard}, expected nothing of it for an hour",
                hints=[
                    errors.ask(f"is process {lease.pid or 'unknown'} on {lease.host or 'its host'} still at work?"),
                    errors.run(f"when it is dead: `safepoint repository unlock {lease.id} --force`; its work is lost"),
                ],
            )
    return None


def _describe(lease: OpenLease, now: datetime) -> str:
    dead = lease.why_dead()
    return lease.describe(now) + (f": dead, {dead}" if dead else "")


def _warnings(leases: Sequence[OpenLease], refusal: errors.SafepointError | None) -> list[str]:
    may_live = any(lease.why_dead() is None for lease in leases)
    refused = [f"it would be refused without --force: {refusal.message}"] if refusal else []
    return [*refused, *([_WARNING] if may_live else [])]


def _title(leases: Sequence[OpenLease], *, stale: bool) -> str:
    if leases:
        return f"end {', '.join(lease.id for lease in leases)}"
    return "end nothing: no open lease is stale or of a dead process" if stale else "end nothing: no lease is open"
