"""Findings of the audit that somebody has looked at: said in the journal, under a signature that holds.

Each is named by its identity (kind, objects, sequences, digests), so that nothing new hides behind it: whatever is
different is another finding, and an alarm. An acknowledged one is still told, as a notice. On a machine that has
audited since without finding it, the acknowledgement has lapsed: what is lost once more is an alarm once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from safepoint.model.measures import format_instant
from safepoint.repository.commit.journal_entry import Entry
from safepoint.repository.commit.journal_event import EventKind, JournalEvent
from safepoint.repository.commit.journal_finding import JournalFinding, Severity
from safepoint.repository.names import entry_name, place_of

Lapsed = AbstractSet[tuple[str, str]]
"""Acknowledgements that hold no more: identity of the finding, digest of the entry that acknowledges it."""


def eased(
    findings: Iterable[JournalFinding], entries: Iterable[Entry], lapsed: Lapsed = frozenset()
) -> tuple[JournalFinding, ...]:
    """The findings, in their order; those that a signed entry acknowledges are notices that say who did and when."""
    known: dict[str, tuple[Entry, JournalEvent]] = {}
    for identity, entry, event in _acknowledgements(entries):
        if (identity, entry.digest) not in lapsed:
            known.setdefault(identity, (entry, event))
    return tuple(_eased(each, *known[each.identity]) if each.identity in known else each for each in findings)


def lapsed_by(
    findings: Iterable[JournalFinding], entries: Iterable[Entry], unread: AbstractSet[str]
) -> frozenset[tuple[str, str]]:
    """The acknowledgements, by the entries that an audit began with, of what it looked at and did not find.

    `unread` names the entries that it took from memory.
    """
    found = {finding.identity for finding in findings}
    return frozenset(
        (identity, entry.digest)
        for identity, entry, event in _acknowledgements(entries)
        if identity not in found and not _looked_at(event) & unread
    )


def entries_acknowledged(entries: Iterable[Entry]) -> frozenset[str]:
    """The entries that an audit must read, lest it take a fault that was acknowledged for mended."""
    return frozenset(name for _, _, event in _acknowledgements(entries) for name in _looked_at(event))


def _looked_at(event: JournalEvent) -> frozenset[str]:
    """The entry that the finding is about, and the one that follows: which of both is at fault may be unknown."""
    place = place_of(event.name)
    return frozenset() if place is None else frozenset(entry_name(place[0], place[1] + after) for after in (0, 1))


def named(findings: Sequence[JournalFinding], beginning: str) -> tuple[JournalFinding, ...]:
    """Those that are no notices and of which the identity begins so."""
    return tuple(
        each for each in findings if each.severity is not Severity.NOTICE and each.identity.startswith(beginning)
    )


def _acknowledgements(entries: Iterable[Entry]) -> Iterator[tuple[str, Entry, JournalEvent]]:
    """Each with the identity that it is of, oldest first."""
    for entry in sorted(entries, key=lambda entry: entry.at):
        for event in entry.events if entry.is_signed else ():
            if event.kind is EventKind.ACKNOWLEDGED and event.digest is not None:
                yield event.digest, entry, event


def _eased(finding: JournalFinding, entry: Entry, event: JournalEvent) -> JournalFinding:
    who = (
        f"acknowledged on {format_instant(entry.at)} by {event.by or 'somebody'} ({event.reason or 'no reason given'})"
    )
    return replace(finding, severity=Severity.NOTICE, text=f"{who}: {finding.text}", is_acknowledged=True)
