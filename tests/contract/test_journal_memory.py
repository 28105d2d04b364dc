"""What an audit remembers of the journal: it reads what is new, and finds what was changed all the same."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from safepoint.repository.commit.journal import Journal
from safepoint.repository.commit.journal_audit import AuditReport, JournalFindingKind, audit_journal, claimed_backups
from safepoint.repository.commit.journal_entry import digest_of
from safepoint.repository.commit.journal_event import backup_made, record_put
from safepoint.repository.commit.journal_memory import TURNS, EntryMemory
from safepoint.repository.commit.journal_state import StateKeeper
from safepoint.repository.sealing.objects import read_object, seal_object
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.stores import MemoryStore, Meter, Store
from safepoint.stores.metering import Call, MeteredStore

_REPOSITORY = "5afe" * 8
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_KEYRING = Keyring(family=bytes(range(16)), masters={1: bytes(range(32))}, is_encrypted=True)
_ENTRIES = 65


@pytest.fixture
def site(tmp_path: Path) -> tuple[MemoryStore, Path, list[str]]:
    """A store, the state of a machine that audited it once, and the names of one writer's entries."""
    store, journal_of = MemoryStore(), tmp_path / "writer"
    names = _write(store, journal_of, range(_ENTRIES))
    _audit(store, tmp_path / "auditor")
    return store, tmp_path / "auditor", names


def _write(store: Store, state: Path, numbers: range) -> list[str]:
    journal = Journal(store, _KEYRING, repository=_REPOSITORY, clock=lambda: _NOON, state=state)
    names: list[str] = []
    for number in numbers:
        event = record_put(f"records/drill/{number:04}")
        store.put_if_absent(event.name, b"evidence")
        names.append(str(journal.append([event])))
    return names


def _audit(store: Store, state: Path, *, is_full: bool = False) -> AuditReport:
    return audit_journal(store, _KEYRING, repository=_REPOSITORY, state=StateKeeper(state), is_full=is_full)


def _exchange(store: Store, name: str) -> None:
    """The same words, sealed anew: another object, which the next entry does not name."""
    body = read_object(store, _KEYRING, Kind.JOURNAL, name).body
    store.delete(name)
    store.put_if_absent(name, seal_object(_KEYRING, Kind.JOURNAL, name, body))


def test_an_audit_reads_what_is_new(site: tuple[MemoryStore, Path, list[str]], tmp_path: Path) -> None:
    """Of 65 entries and two new ones: these, the last that was known, and two shares, a thirtieth each, of the rest."""
    store, state, _ = site
    _write(store, tmp_path / "writer", range(100, 102))
    meter = Meter()

    report = _audit(MeteredStore(store, meter), state)

    assert (report.findings, report.entries) == ((), _ENTRIES + 2)
    assert report.read == meter.usage().calls[Call.GET_RANGE] <= 2 + 1 + 2 * (_ENTRIES // TURNS + 1)


def test_every_entry_is_read_within_thirty_audits(site: tuple[MemoryStore, Path, list[str]]) -> None:
    """And one that was exchanged deep in the chain is found by then."""
    store, state, names = site
    _exchange(store, names[20])

    found = [_audit(store, state) for _ in range(TURNS)]

    assert {finding.kind for report in found for finding in report.findings} == {JournalFindingKind.BROKEN_CHAIN}
    assert sum(report.read for report in found) < 5 * _ENTRIES


def test_a_full_audit_finds_it_at_once(site: tuple[MemoryStore, Path, list[str]]) -> None:
    """It reads everything."""
    store, state, names = site
    _exchange(store, names[20])

    report = _audit(store, state, is_full=True)

    assert [finding.kind for finding in report.findings] == [JournalFindingKind.BROKEN_CHAIN]
    assert report.read == _ENTRIES


def test_an_entry_that_is_gone_is_found_at_once(site: tuple[MemoryStore, Path, list[str]]) -> None:
    """What is remembered counts only where it is listed."""
    store, state, names = site
    store.delete(names[20])

    assert [finding.kind for finding in _audit(store, state).findings] == [JournalFindingKind.MISSING_LINK]


def test_an_exchanged_last_entry_is_found_at_once(site: tuple[MemoryStore, Path, list[str]]) -> None:
    """The last one of each writer is always read."""
    store, state, names = site
    _exchange(store, names[-1])

    assert [finding.kind for finding in _audit(store, state).findings] == [JournalFindingKind.REPLACED_ENTRY]


@pytest.mark.parametrize("harm", ["cut", "flip", "drop"])
def test_a_damaged_memory_costs_reads_alone(site: tuple[MemoryStore, Path, list[str]], harm: str) -> None:
    """Lines that do not hold are read from the store, and kept anew."""
    store, state, _ = site
    path = state / "entries.jsonl"
    content = bytearray(path.read_bytes())
    if harm == "cut":
        path.write_bytes(content[:-40])
    elif harm == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()

    report = _audit(store, state, is_full=harm == "drop")

    assert (report.findings, report.entries) == ((), _ENTRIES)
    assert len(EntryMemory(state).entries()) == _ENTRIES - 1


def test_claims_are_remembered(tmp_path: Path) -> None:
    """A collection asks for them twice: the second time little is read, and the answer is the same."""
    store, state, meter = MemoryStore(), StateKeeper(tmp_path / "auditor"), Meter()
    journal = Journal(store, _KEYRING, repository=_REPOSITORY, clock=lambda: _NOON, state=tmp_path / "writer")
    for number in range(10):
        journal.append([backup_made(f"backups/7/{number}", digest_of(b"manifest"))])

    first = claimed_backups(store, _KEYRING, _REPOSITORY, state)
    second = claimed_backups(MeteredStore(store, meter), _KEYRING, _REPOSITORY, state)

    assert first == second == {f"backups/7/{number}" for number in range(10)}
    assert meter.usage().calls[Call.GET_RANGE] == 1


def test_the_memory_is_the_owners(site: tuple[MemoryStore, Path, list[str]]) -> None:
    """Names of backups are nobody else's business."""
    _, state, _ = site

    assert (state / "entries.jsonl").stat().st_mode & 0o077 == 0
