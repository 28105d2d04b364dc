"""What an audit of a journal finds: what is gone, deleted, replaced, signed by others or rolled back."""

from __future__ import annotations

from pathlib import Path

from journal_samples import (
    KEYRING,
    NOON,
    REPOSITORY,
    TickingClock,
    audit_of,
    finding_kinds,
    journal_in,
    record_event,
    record_name,
    write_records,
)
from safepoint.model.lsn import Lsn
from safepoint.repository.commit import journal_entry, journal_event
from safepoint.repository.commit.journal import Journal
from safepoint.repository.commit.journal_audit import (
    JournalFindingKind,
    Severity,
    Snapshot,
    look_at_store,
)
from safepoint.repository.commit.journal_event import backup_made, expired
from safepoint.repository.commit.journal_state import Writer
from safepoint.repository.names import entry_name
from safepoint.repository.sealing.objects import read_object, seal_object
from safepoint.repository.sealing.seal import Kind
from safepoint.stores import MemoryStore, Store

MANIFEST = "backups/7345678901234567890/20260301T120000Z-1"


def _replace(store: Store, name: str, data: bytes) -> None:
    store.delete(name)
    assert store.put_if_absent(name, data)


def _copy(store: Store) -> Store:
    other = MemoryStore()
    for name in store.list(""):
        other.put_if_absent(name, store.get(name))
    return other


def test_what_the_journal_names_and_the_store_lacks_is_found(store: Store, tmp_path: Path) -> None:
    """A deleted record is damage, named by its object and by the entry that says it was stored."""
    entries = write_records(journal_in(store, tmp_path / "one"), store, [1, 2])
    store.delete("records/drill/0001")

    (finding,) = audit_of(store).findings

    assert (finding.kind, finding.severity) == (JournalFindingKind.MISSING_OBJECT, Severity.DAMAGED)
    assert finding.objects == ("records/drill/0001",)
    assert entries[0] in finding.text


def test_a_deleted_entry_in_the_middle_is_found(store: Store, tmp_path: Path) -> None:
    """The gap is unknown, not damage: nobody knows what it said."""
    names = write_records(journal_in(store, tmp_path / "one"), store, [1, 2, 3])
    store.delete(names[1])

    (finding,) = audit_of(store).findings

    assert (finding.kind, finding.severity, finding.objects) == (
        JournalFindingKind.MISSING_LINK,
        Severity.UNKNOWN,
        (names[1],),
    )


def test_a_store_rolled_back_is_found_by_who_saw_more(tmp_path: Path) -> None:
    """Last week's copy is whole in itself; the machine that wrote or audited since then knows better."""
    store = MemoryStore()
    write_records(journal_in(store, tmp_path / "one"), store, [1, 2])
    last_week = _copy(store)
    write_records(journal_in(store, tmp_path / "one"), store, [3])
    assert not audit_of(store, tmp_path / "auditor").findings

    for state in ("one", "auditor"):
        report = audit_of(last_week, tmp_path / state)
        assert finding_kinds(report) == {JournalFindingKind.ROLLED_BACK}
        assert not report.is_whole
    stranger = audit_of(last_week, tmp_path / "stranger")
    assert stranger.findings == ()
    assert stranger.is_first_look


def test_what_was_remembered_is_not_forgotten(tmp_path: Path) -> None:
    """An audit of the rolled-back copy does not lower what the machine remembers; and it tells the others."""
    store = MemoryStore()
    write_records(journal_in(store, tmp_path / "one"), store, [1])
    last_week = _copy(store)
    write_records(journal_in(store, tmp_path / "one"), store, [2])
    audit_of(store, tmp_path / "two")

    assert finding_kinds(audit_of(last_week, tmp_path / "two")) == {JournalFindingKind.ROLLED_BACK}
    assert finding_kinds(audit_of(last_week, tmp_path / "two")) == {JournalFindingKind.ROLLED_BACK}
    write_records(journal_in(last_week, tmp_path / "two"), last_week, [3])
    assert finding_kinds(audit_of(last_week)) == {JournalFindingKind.CUT_TAIL}


def test_an_entry_signed_by_another_key_is_found(tmp_path: Path) -> None:
    """Whoever has every key of the repository, but not the writer's, cannot write in its name."""
    store = MemoryStore()
    names = write_records(journal_in(store, tmp_path / "one"), store, [1, 2])
    writer = names[1].split("/")[1]
    forger = Writer.new().key
    previous = journal_entry.digest_of(store.get(names[0]))
    body = journal_entry.signed_entry(
        forger,
        repository=REPOSITORY,
        sequence=2,
        previous=previous,
        at=NOON,
        events=[expired(record_name(1))],
        heads={},
    ).replace(journal_entry.writer_of(forger.public_key()).encode(), writer.encode())
    _replace(store, names[1], seal_object(KEYRING, Kind.JOURNAL, names[1], body))
    store.delete(record_name(1))

    report = audit_of(store)

    assert finding_kinds(report) == {JournalFindingKind.WRONG_SIGNATURE, JournalFindingKind.MISSING_OBJECT}


def test_the_same_words_sealed_anew_break_the_chain(tmp_path: Path) -> None:
    """The chain is of objects' bytes: an entry that was put again with another salt is not the one that was named."""
    store = MemoryStore()
    names = write_records(journal_in(store, tmp_path / "one"), store, [1, 2])
    body = read_object(store, KEYRING, Kind.JOURNAL, names[0]).body
    _replace(store, names[0], seal_object(KEYRING, Kind.JOURNAL, names[0], body))

    assert finding_kinds(audit_of(store)) == {JournalFindingKind.BROKEN_CHAIN}


def test_a_replaced_last_entry_is_found_by_who_verified_it(tmp_path: Path) -> None:
    """Nothing names the last entry's digest yet, but for the machine that verified it."""
    store = MemoryStore()
    (name,) = write_records(journal_in(store, tmp_path / "one"), store, [1])
    audit_of(store, tmp_path / "auditor")
    body = read_object(store, KEYRING, Kind.JOURNAL, name).body
    _replace(store, name, seal_object(KEYRING, Kind.JOURNAL, name, body))

    assert finding_kinds(audit_of(store, tmp_path / "auditor")) == {JournalFindingKind.REPLACED_ENTRY}


def test_an_entry_of_another_repository_does_not_count(tmp_path: Path) -> None:
    """Siblings share their keys, so a sibling's journal opens here; its entries name their own repository."""
    store, sibling = MemoryStore(), MemoryStore()
    name = str(
        Journal(sibling, KEYRING, repository="0" * 32, clock=TickingClock(), state=None).append([record_event(1)])
    )
    store.put_if_absent(name, sibling.get(name))

    (finding,) = audit_of(store).findings

    assert finding.kind is JournalFindingKind.UNREADABLE_ENTRY
    assert "repository" in finding.text


def test_a_backup_that_was_replaced_is_found(tmp_path: Path) -> None:
    """The journal knows the manifest's bytes: another manifest under the name, well sealed, is not the one."""
    store = MemoryStore()
    store.put_if_absent(MANIFEST, b"another manifest")
    journal_in(store, tmp_path / "one").append([backup_made(MANIFEST, journal_entry.digest_of(b"the manifest"))])
    read = Snapshot(names=frozenset({MANIFEST}), digests={MANIFEST: journal_entry.digest_of(b"another manifest")})

    assert finding_kinds(audit_of(store, look=lambda: read)) == {JournalFindingKind.REPLACED_OBJECT}
    unread = audit_of(store)
    assert unread.findings == ()
    assert unread.unchecked_digests == 1


def test_an_expiry_while_the_audit_runs_is_no_loss(tmp_path: Path) -> None:
    """The event precedes the deletion, and the journal is read again after looking: nothing is missing."""
    store = MemoryStore()
    journal = journal_in(store, tmp_path / "one")
    write_records(journal, store, [1, 2])

    def look() -> Snapshot:
        journal.append([expired(record_name(1))])
        store.delete(record_name(1))
        write_records(journal, store, [3])
        return look_at_store(store)

    assert audit_of(store, look=look).findings == ()


def test_the_store_tells_segments_of_wal(tmp_path: Path) -> None:
    """A range of complete segments is there when every one is listed, and the missing one is named by its LSN."""
    store = MemoryStore()
    folder = f"wal/73456/00000001-{'ab' * 16}"
    for number in (2, 3, 4):
        store.put_if_absent(f"{folder}/0000000100000000000000{number:02X}.16MB", b"wal")
    event = journal_event.wal_stored("73456", f"00000001-{'ab' * 16}", Lsn.parse("0/2000000"), Lsn.parse("0/5000000"))
    journal_in(store, tmp_path / "one").append([event])
    assert audit_of(store).findings == ()

    store.delete(f"{folder}/000000010000000000000003.16MB")

    (finding,) = audit_of(store).findings
    assert finding.kind is JournalFindingKind.MISSING_WAL
    assert "[0/3000000, 0/4000000)" in finding.text


def test_names_that_are_no_entries_are_noticed(tmp_path: Path) -> None:
    """Objects that do not belong there take part in nothing, and are named."""
    store = MemoryStore()
    write_records(journal_in(store, tmp_path / "one"), store, [1])
    for name in ("journal/x", f"journal/{'a' * 32}/000000000000", f"journal/{'a' * 32}/1"):
        store.put_if_absent(name, b"")

    report = audit_of(store)

    assert [finding.kind for finding in report.findings] == [JournalFindingKind.STRANGE_NAME] * 3
    assert report.is_whole
    assert entry_name("a" * 32, 1) == f"journal/{'a' * 32}/000000000001"
