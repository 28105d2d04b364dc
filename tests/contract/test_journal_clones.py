"""A machine, its state or its store that is copied or put back: who wrote goes on as a new writer, and says so."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from safepoint.repository.commit.journal import Journal, fetch_entry
from safepoint.repository.commit.journal_audit import AuditReport, JournalFindingKind, Severity, audit_journal
from safepoint.repository.commit.journal_entry import Entry
from safepoint.repository.commit.journal_event import EventKind, record_put
from safepoint.repository.commit.journal_state import StateKeeper
from safepoint.repository.places import Places
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores import FolderStore, MemoryStore, Meter, Store
from safepoint.stores.metering import Call, MeteredStore

_REPOSITORY = "5afe" * 8
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_KEYRING = Keyring(family=bytes(range(16)), masters={1: bytes(range(32))}, is_encrypted=True)


def _journal(store: Store, state: Path | None) -> Journal:
    return Journal(store, _KEYRING, repository=_REPOSITORY, clock=lambda: _NOON, state=state)


def _write(store: Store, state: Path | None, *numbers: int) -> list[str]:
    """One record and one entry each, by one process; the entries' names."""
    journal, names = _journal(store, state), list[str]()
    for number in numbers:
        event = record_put(f"records/drill/{number:04}")
        store.put_if_absent(event.name, b"evidence")
        names.append(str(journal.append([event])))
    return names


def _audit(store: Store, state: Path | None = None) -> AuditReport:
    return audit_journal(store, _KEYRING, repository=_REPOSITORY, state=StateKeeper(state))


def _alarms(report: AuditReport) -> set[JournalFindingKind]:
    return {finding.kind for finding in report.findings if finding.severity is not Severity.NOTICE}


def _copy(store: Store) -> MemoryStore:
    copied = MemoryStore()
    for name in store.list(""):
        copied.put_if_absent(name, store.get(name))
    return copied


def test_a_state_that_was_put_back_makes_a_new_writer_that_says_so(tmp_path: Path) -> None:
    """A home directory from yesterday: the old chain stays whole, and the event names its last entry known there."""
    store, state, yesterday = MemoryStore(), tmp_path / "state", tmp_path / "yesterday"
    first = _write(store, state, 1)
    shutil.copytree(state, yesterday)
    _write(store, state, 2, 3)

    (name,) = _write(store, yesterday, 4)

    entry = fetch_entry(store, _KEYRING, _REPOSITORY, name)
    assert isinstance(entry, Entry)
    assert [event.kind for event in entry.events] == [EventKind.SUCCEEDS, EventKind.RECORD]
    assert entry.events[0].name == first[0]
    assert not _alarms(_audit(store))


def test_a_store_that_was_put_back_is_not_forked(tmp_path: Path) -> None:
    """The writer's last entry is not there: it writes no other in its place, and what is missing is told to all."""
    store, state = MemoryStore(), tmp_path / "state"
    _write(store, state, 1, 2)
    older = _copy(store)
    _write(store, state, 3, 4)

    _write(older, state, 5)

    report = _audit(older)
    assert sorted(writer.entries for writer in report.writers) == [1, 2]
    assert _alarms(report) == {JournalFindingKind.CUT_TAIL}


def test_an_exchanged_last_entry_is_not_followed(tmp_path: Path) -> None:
    """The head has another digest than the machine remembers: a new writer."""
    store, state = MemoryStore(), tmp_path / "state"
    (name,) = _write(store, state, 1)
    store.delete(name)
    store.put_if_absent(name, b"rubbish")

    (other,) = _write(store, state, 2)

    assert other.split("/")[1] != name.split("/")[1]


def test_two_clones_of_machine_and_store_do_not_meet(tmp_path: Path) -> None:
    """Each goes on in its own copy: neither has an alarm."""
    store, state = MemoryStore(), tmp_path / "one"
    _write(store, state, 1)
    clone = _copy(store)
    shutil.copytree(state, tmp_path / "two")

    _write(store, state, 2, 3)
    _write(clone, tmp_path / "two", 4)

    assert not _alarms(_audit(store, state))
    assert not _alarms(_audit(clone, tmp_path / "two"))


def test_a_copied_repository_on_one_machine_has_a_memory_of_its_own(tmp_path: Path) -> None:
    """`cp -r`, then both are used in turn: no alarm in either; in the copy, that its original went further."""
    places, one = Places(state=tmp_path / "state"), FolderStore(tmp_path / "one")
    _write(one, places.journal_of(_REPOSITORY, str(one)), 1, 2)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    two = FolderStore(tmp_path / "two")

    for number in range(3, 9):
        store = one if number % 2 else two
        state = places.journal_of(_REPOSITORY, str(store))
        _write(store, state, number)
        report = _audit(store, state)
        assert not _alarms(report)
        told = [finding for finding in report.findings if finding.kind is JournalFindingKind.ROLLED_BACK]
        assert len(told) == (store is two)

    assert len(_audit(one).writers) == 1
    assert len(_audit(two).writers) == 2


def test_the_last_entry_is_looked_at_once_a_process(tmp_path: Path) -> None:
    """One read for a process that goes on with a chain; none for the entries after."""
    store, state, meter = MemoryStore(), tmp_path / "state", Meter()
    _write(store, state, 1)

    _write(MeteredStore(store, meter), state, 2, 3, 4)

    assert meter.usage().calls[Call.GET_RANGE] == 1
