"""`safepoint repository acknowledge`: findings of the journal that somebody has looked at are no alarms any more.

What the journal lacks stays lacking, so without this its alarms would last for ever. It is said in the journal itself,
signed: who, when, why, and of exactly which findings.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from safepoint import errors
from safepoint.model.json_value import Json
from safepoint.repository import Repository
from safepoint.repository.care.journal_check import SHOWN_DIGITS, journal_findings
from safepoint.repository.commit.journal_acknowledged import named
from safepoint.repository.commit.journal_event import finding_acknowledged
from safepoint.repository.commit.journal_finding import JournalFinding
from safepoint.workflows.care_job import CareJob, care_plan
from safepoint.workflows.repository_location import Located

_SHOWN = 5
_WARNING = "whatever the missing or exchanged entries said stays unknown: a check does not tell of it any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """The findings, and who answers for them."""

    findings: tuple[JournalFinding, ...]
    by: str
    reason: str


def prepare_acknowledgement(
    place: Located, beginnings: Sequence[str], *, reason: str, by: str | None = None
) -> CareJob[Acknowledged]:
    """The plan to acknowledge the findings whose identities begin so; RP015 for each that does not name one alarm.

    `by` says who, by default this user on this host.
    """
    repository = place.open()
    found = journal_findings(repository)
    chosen = tuple({each.identity: each for each in _chosen(found, beginnings)}.values())
    who = by or this_person()
    plan = care_plan(
        "acknowledge",
        place.name,
        f"say in the journal that {who} has looked at {', '.join(each.identity[:SHOWN_DIGITS] for each in chosen)}",
        url=place.url,
        facts=[("reason", reason), *((f"finding {each.identity[:SHOWN_DIGITS]}", each.text) for each in chosen)],
        warnings=[_WARNING],
        arguments={"findings": [each.identity for each in chosen], "reason": reason, "by": who},
    )

    def work(_report: object) -> Acknowledged:
        return _acknowledge(repository, Acknowledged(findings=chosen, by=who, reason=reason))

    return CareJob(plan=plan, repository=repository, work=work, to_json=acknowledged_to_json)


def acknowledged_to_json(acknowledged: Acknowledged) -> dict[str, Json]:
    """For programs."""
    return {
        "acknowledged": [
            {"finding": each.identity, "kind": each.kind.value, "text": each.text, "objects": list(each.objects)}
            for each in acknowledged.findings
        ],
        "by": acknowledged.by,
        "reason": acknowledged.reason,
    }


def _acknowledge(repository: Repository, acknowledged: Acknowledged) -> Acknowledged:
    """All in one entry: killed before it is there, nothing was said."""
    repository.journal.append(
        [
            finding_acknowledged(
                each.identity,
                kind=each.kind.value,
                name=next(iter(each.objects), ""),
                by=acknowledged.by,
                reason=acknowledged.reason,
            )
            for each in acknowledged.findings
        ]
    )
    return acknowledged


def _chosen(found: Sequence[JournalFinding], beginnings: Sequence[str]) -> Iterator[JournalFinding]:
    alarms = named(found, "")
    for beginning in beginnings:
        matching = named(found, beginning.lower())
        if len(matching) != 1 or not beginning:
            shown = [f"{each.identity[:SHOWN_DIGITS]}: {each.text}" for each in alarms[:_SHOWN]]
            more = [f"and {len(alarms) - _SHOWN} more"] if len(alarms) > _SHOWN else []
            raise errors.RP015.error(
                f"found {len(matching)} findings that begin with {beginning!r} among {len(alarms)} of the journal, "
                "expected one",
                hints=[*map(errors.ask, (*shown, *more)), errors.run("list them: `safepoint repository check`")],
            )
        yield matching[0]


def this_person() -> str:
    """Who runs this, and where, for records."""
    try:
        return f"{getpass.getuser()} on {socket.gethostname()}"
    except (OSError, KeyError):  # a container's user without a name
        return f"a user without a name on {socket.gethostname()}"
