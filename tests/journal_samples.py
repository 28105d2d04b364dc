"""Journals in stores: entries as tests write them, and what an audit says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from safepoint.repository.commit.journal import Journal
from safepoint.repository.commit.journal_audit import (
    AuditReport,
    JournalFindingKind,
    Snapshot,
    audit_journal,
)
from safepoint.repository.commit.journal_event import JournalEvent, record_put
from safepoint.repository.commit.journal_state import StateKeeper
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores import Store

REPOSITORY = "5afe" * 8
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEYRING = Keyring(family=bytes(range(16)), masters={1: bytes(range(32))}, is_encrypted=True)


class TickingClock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def journal_in(store: Store, state: Path | None = None, clock: Callable[[], datetime] | None = None) -> Journal:
    return Journal(store, KEYRING, repository=REPOSITORY, clock=clock or TickingClock(), state=state)


def record_event(number: int) -> JournalEvent:
    return record_put(f"records/drill/{number:04}")


def write_records(journal: Journal, store: Store, numbers: Sequence[int]) -> list[str]:
    """One record and one entry each; the entries' names."""
    names: list[str] = []
    for number in numbers:
        event = record_event(number)
        store.put_if_absent(event.name, b"evidence")
        names.append(str(journal.append([event])))
    return names


def audit_of(store: Store, state: Path | None = None, look: Callable[[], Snapshot] | None = None) -> AuditReport:
    return audit_journal(store, KEYRING, repository=REPOSITORY, state=StateKeeper(state), look=look)


def finding_kinds(report: AuditReport) -> set[JournalFindingKind]:
    return {finding.kind for finding in report.findings}


def record_name(number: int) -> str:
    return record_event(number).name
