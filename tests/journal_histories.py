"""Journals of a few writers, entry by entry, as an audit reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from safepoint.repository.commit import journal_entry
from safepoint.repository.commit.journal_chains import listed_heads
from safepoint.repository.commit.journal_entry import Entry
from safepoint.repository.commit.journal_event import JournalEvent
from safepoint.repository.commit.journal_finding import JournalFinding, JournalFindingKind
from safepoint.repository.commit.journal_state import Writer

REPOSITORY = "5afe" * 8
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WRITERS = [Writer.new() for _ in range(3)]


@dataclass
class WritersHistory:
    """What honest writers put, one entry a call, as it would be read back."""

    entries: list[Entry] = field(default_factory=list[Entry])

    def put(self, writer: int, events: Sequence[JournalEvent] = (), *, has_looked: bool = True) -> Entry:
        mine = [entry for entry in self.entries if entry.writer == WRITERS[writer].id]
        previous = mine[-1].digest if mine else ""
        heads = listed_heads(self.entries) if has_looked else {}
        heads.pop(WRITERS[writer].id, None)
        body = journal_entry.signed_entry(
            WRITERS[writer].key,
            repository=REPOSITORY,
            sequence=len(mine) + 1,
            previous=previous,
            at=NOON,
            events=events,
            heads=heads,
        )
        entry = read_entry(body, WRITERS[writer].id, len(mine) + 1)
        self.entries.append(entry)
        return entry


def read_entry(body: bytes, writer: str, sequence: int) -> Entry:
    digest = journal_entry.digest_of(body)
    return journal_entry.read_entry(body, digest, repository=REPOSITORY, writer=writer, sequence=sequence)


def kinds_of(findings: Sequence[JournalFinding]) -> list[JournalFindingKind]:
    return [finding.kind for finding in findings]
