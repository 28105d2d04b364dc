"""What the last check of a repository's structure found, on record in the repository, so that `status` can tell it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from safepoint import errors
from safepoint.errors import SafepointError
from safepoint.model.json_value import Json, JsonObject
from safepoint.repository import Repository
from safepoint.repository.care.check import Checked
from safepoint.repository.care.finding import Loss
from safepoint.repository.care.verification_memory import read_memory
from safepoint.repository.commit.journal_finding import Severity
from safepoint.repository.names import record_prefix
from safepoint.repository.sealing.objects import from_json, read_object
from safepoint.repository.sealing.seal import Kind

CHECKS = "checks"
"""Records of checks: {"at", "damaged", "unknown", "first", "lost", "unneeded"}; both counts are 0 when all is whole."""
_MOST = 1000
_LOSSES = frozenset({Loss.EVERYTHING, Loss.FILES})


@dataclass(frozen=True, slots=True, kw_only=True)
class LastCheck:
    """How many findings were damage, how many unknown, and the text of the gravest.

    `lost` are the backups that cannot be restored whole; `unneeded` are objects that verifications had found damaged,
    and that no backup needs any more, for they were replaced.
    """

    at: datetime
    damaged: int
    unknown: int
    first: str
    lost: frozenset[str] = frozenset()
    unneeded: frozenset[str] = frozenset()


def record_check(repository: Repository, checked: Checked) -> str:
    """What was found is on record; or why the repository would not take it, to which a check has no right."""
    severities = [finding.severity for finding in checked.findings]
    grave = [finding.text for finding in checked.findings if finding.severity is not Severity.NOTICE]
    record: dict[str, Json] = {
        "at": repository.clock().isoformat(),
        "damaged": severities.count(Severity.DAMAGED),
        "unknown": severities.count(Severity.UNKNOWN),
        "first": grave[0] if grave else "",
        "lost": [*_lost(checked)][:_MOST],
    }
    try:
        record["unneeded"] = [*_unneeded(repository, checked)][:_MOST]
        repository.append_record(CHECKS, record)
    except SafepointError as error:
        return f"not recorded: {error.message}"
    return "recorded"


def _lost(checked: Checked) -> list[str]:
    """What is damaged counts, not what is unknown."""
    return sorted(
        {
            backup.backup_id
            for finding in checked.findings
            if finding.severity is Severity.DAMAGED
            for backup in finding.affected
            if backup.loses in _LOSSES
        }
    )


def _unneeded(repository: Repository, checked: Checked) -> list[str]:
    named = {grave: set[str]() for grave in (True, False)}
    for finding in checked.findings:
        named[finding.severity is not Severity.NOTICE].update(finding.objects)
    return sorted(set(read_memory(repository).damaged.values()) & (named[False] - named[True]))


def last_check(repository: Repository) -> LastCheck | None:
    """The newest record of a check that opens; None when there is none. ST… when it cannot be looked for."""
    return next(_newest_first(repository), None)


def _newest_first(repository: Repository) -> Iterator[LastCheck]:
    for name in sorted(repository.store.list(record_prefix(CHECKS)), reverse=True):
        try:
            body = read_object(repository.store, repository.keyring, Kind.RECORD, name).body
            record = from_json(name, Kind.RECORD, body)
            yield LastCheck(
                at=datetime.fromisoformat(str(record["at"])),
                damaged=int(str(record["damaged"])),
                unknown=int(str(record["unknown"])),
                first=str(record["first"]),
                lost=_names(record, "lost"),
                unneeded=_names(record, "unneeded"),
            )
        except (errors.Damaged, KeyError, ValueError):
            continue


def _names(record: JsonObject, field: str) -> frozenset[str]:
    """None in a record that was made before there was such a field."""
    names: Json = record.get(field, [])
    return frozenset(map(str, names)) if isinstance(names, list) else frozenset()
