"""The writers' journal over every store: what it costs, what survives a crash, and what an attacker cannot hide."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from safepoint import errors
from safepoint.model.lsn import Lsn
from safepoint.repository.commit import journal_entry
from safepoint.repository.commit.journal import Journal, fetch_entry, list_heads
from safepoint.repository.commit.journal_audit import (
    AuditReport,
    FindingKind,
    Severity,
    Snapshot,
    audit_journal,
    look_at_store,
)
from safepoint.repository.commit.journal_entry import JournalEvent, backup_made, entry_name, expired, record_put
from safepoint.repository.commit.journal_state import StateKeeper, Writer
from safepoint.repository.sealing.objects import read_object, seal_object
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.stores import FolderStore, MemoryStore, Meter, Store
from safepoint.stores.metering import Call, MeteredStore
from safepoint.stores.port import Data

REPOSITORY = "5afe" * 8
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MANIFEST = "backups/7345678901234567890/20260301T120000Z-1"
KEYRING = Keyring(family=bytes(range(16)), masters={1: bytes(range(32))}, is_encrypted=True)


class _Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def _journal(store: Store, state: Path | None = None, clock: Callable[[], datetime] | None = None) -> Journal:
    return Journal(store, KEYRING, repository=REPOSITORY, clock=clock or _Clock(), state=state)


def _record(number: int) -> JournalEvent:
    return record_put(f"records/drill/{number:04}")


def _write(journal: Journal, store: Store, numbers: Sequence[int]) -> list[str]:
    """One record and one entry each; the entries' names."""
    names: list[str] = []
    for number in numbers:
        event = _record(number)
        store.put_if_absent(event.name, b"evidence")
        names.append(str(journal.append([event])))
    return names


def _audit(store: Store, state: Path | None = None, look: Callable[[], Snapshot] | None = None) -> AuditReport:
    return audit_journal(store, KEYRING, repository=REPOSITORY, state=StateKeeper(state), look=look)


def _kinds(report: AuditReport) -> set[FindingKind]:
    return {finding.kind for finding in report.findings}


def _replace(store: Store, name: str, data: bytes) -> None:
    store.delete(name)
    assert store.put_if_absent(name, data)


def _copy(store: Store) -> Store:
    other = MemoryStore()
    for name in store.list(""):
        other.put_if_absent(name, store.get(name))
    return other


def test_an_honest_journal_has_no_finding(store: Store, tmp_path: Path) -> None:
    """Two writers, several entries, everything there: whole, on every store."""
    _write(_journal(store, tmp_path / "one"), store, [1, 2, 3])
    _write(_journal(store, tmp_path / "two"), store, [4])
    _write(_journal(store, tmp_path / "one"), store, [5])

    report = _audit(store)

    assert report.findings == ()
    assert report.is_whole
    assert sorted(writer.entries for writer in report.writers) == [1, 4]
    assert report.entries == 5


def test_what_the_journal_names_and_the_store_lacks_is_found(store: Store, tmp_path: Path) -> None:
    """A deleted record is damage, named by its object and by the entry that says it was stored."""
    entries = _write(_journal(store, tmp_path / "one"), store, [1, 2])
    store.delete("records/drill/0001")

    (finding,) = _audit(store).findings

    assert (finding.kind, finding.severity) == (FindingKind.MISSING_OBJECT, Severity.DAMAGED)
    assert finding.objects == ("records/drill/0001",)
    assert entries[0] in finding.text


def test_a_deleted_entry_in_the_middle_is_found(store: Store, tmp_path: Path) -> None:
    """The gap is unknown, not damage: nobody knows what it said."""
    names = _write(_journal(store, tmp_path / "one"), store, [1, 2, 3])
    store.delete(names[1])

    (finding,) = _audit(store).findings

    assert (finding.kind, finding.severity, finding.objects) == (
        FindingKind.MISSING_LINK,
        Severity.UNKNOWN,
        (names[1],),
    )


def test_a_process_killed_after_its_put_is_gone_on_from(store: Store, tmp_path: Path) -> None:
    """The sequence is taken by the writer's own entry: it is adopted, and the chain has one writer and no hole."""
    state = tmp_path / "one"
    _write(_journal(store, state), store, [1])
    before = (state / "journal.json").read_bytes()
    _write(_journal(store, state), store, [2, 3])
    (state / "journal.json").write_bytes(before)

    (name,) = _write(_journal(store, state), store, [4])

    report = _audit(store)
    assert name.endswith("/000000000004")
    assert report.findings == ()
    assert len(report.writers) == 1


def test_a_kill_at_any_call_of_the_first_append_leaves_a_whole_journal(tmp_path: Path) -> None:
    """Whether the state or the entry was the last thing written, the next process goes on with the same writer."""
    store = MemoryStore()

    class Killed(BaseException):
        pass

    class Dying(MemoryStore):
        def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
            store.put_if_absent(name, data, durable=durable)
            raise Killed

    with pytest.raises(Killed):
        _journal(Dying(), tmp_path / "one").append([_record(1)])
    store.put_if_absent(_record(1).name, b"evidence")
    (name,) = _write(_journal(store, tmp_path / "one"), store, [2])

    assert name.endswith("/000000000002")
    assert _audit(store).findings == ()


def test_a_place_taken_by_somebody_else_makes_a_new_writer(tmp_path: Path) -> None:
    """Rubbish under the next name does not stop the writer; the audit names it."""
    store = MemoryStore()
    journal = _journal(store, tmp_path / "one")
    (name,) = _write(journal, store, [1])
    squatted = name[:-1] + "2"
    store.put_if_absent(squatted, b"rubbish")

    (other,) = _write(journal, store, [2])

    assert other.endswith("/000000000001")
    assert squatted in {name for finding in _audit(store).findings for name in finding.objects}


def test_a_fork_of_its_own_is_not_adopted(tmp_path: Path) -> None:
    """An entry of its own key that does not follow the head it knows: the writer does not go on from there."""
    store = MemoryStore()
    (name,) = _write(_journal(store, tmp_path / "one"), store, [1])
    writer = StateKeeper(tmp_path / "one").read().writer
    assert writer is not None
    body = journal_entry.signed_entry(
        writer.key, repository=REPOSITORY, sequence=2, previous="ab" * 32, at=NOON, events=(), heads={}
    )
    forked = f"{name[:-1]}2"
    store.put_if_absent(forked, seal_object(KEYRING, Kind.JOURNAL, forked, body))

    (other,) = _write(_journal(store, tmp_path / "one"), store, [2])

    assert other.split("/")[1] != writer.id
    assert _kinds(_audit(store)) == {FindingKind.BROKEN_CHAIN}


def test_heads_are_told_once(tmp_path: Path) -> None:
    """An entry names only what its writer has not told before, so that many writers do not make long entries."""
    store = MemoryStore()
    _write(_journal(store), store, [1])
    names = _write(_journal(store, tmp_path / "one"), store, [2, 3])

    found = [fetch_entry(store, KEYRING, REPOSITORY, name) for name in names]

    assert [len(entry.heads) for entry in found if isinstance(entry, journal_entry.Entry)] == [1, 0]


def test_an_append_costs_one_put_and_one_listing_an_hour(tmp_path: Path) -> None:
    """No object is read; other writers are looked for once in the session, and again after an hour."""
    meter, clock = Meter(), _Clock()
    journal = _journal(MeteredStore(MemoryStore(), meter), tmp_path / "one", clock)

    for number in range(5):
        journal.append([_record(number), _record(number + 100)])
    clock.now += timedelta(hours=1)
    journal.append([_record(9)])

    assert meter.usage().calls == {Call.PUT: 6, Call.LIST: 2}


def test_nothing_to_say_is_no_entry(tmp_path: Path) -> None:
    """An empty batch costs nothing."""
    store = MemoryStore()

    assert _journal(store, tmp_path / "one").append([]) is None
    assert list(store.list("")) == []


def test_threads_of_one_journal_make_one_chain(tmp_path: Path) -> None:
    """Appends at the same time neither fork nor skip."""
    store = MemoryStore()
    journal = _journal(store, tmp_path / "one")

    with ThreadPoolExecutor(4) as pool:
        names = set(pool.map(lambda number: journal.append([_record(number)]), range(20)))

    assert len(names) == 20
    assert list(list_heads(store).values()) == [20]
    assert not _audit(store, look=lambda: Snapshot(names=frozenset(map(_name, range(20))))).findings


def _name(number: int) -> str:
    return _record(number).name


def _append_some(root: Path, state: Path, first: int) -> None:
    store = FolderStore(root)
    for number in range(first, first + 10):
        _write(_journal(store, state), store, [number])


def test_processes_of_one_host_share_a_writer(tmp_path: Path) -> None:
    """Two processes, one state directory: one chain of all their entries."""
    context = multiprocessing.get_context("spawn")
    arguments = [(tmp_path / "store", tmp_path / "state", first) for first in (0, 100)]
    processes = [context.Process(target=_append_some, args=values) for values in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    report = _audit(FolderStore(tmp_path / "store"))
    assert [process.exitcode for process in processes] == [0, 0]
    assert report.findings == ()
    assert [writer.entries for writer in report.writers] == [20]


def test_a_copied_state_makes_no_fork(tmp_path: Path) -> None:
    """Two machines cloned from one image take turns in one chain."""
    store = MemoryStore()
    _write(_journal(store, tmp_path / "one"), store, [1])
    (tmp_path / "two").mkdir()
    (tmp_path / "two/journal.json").write_bytes((tmp_path / "one/journal.json").read_bytes())

    for number in range(2, 8):
        _write(_journal(store, tmp_path / ("one" if number % 2 else "two")), store, [number])

    report = _audit(store)
    assert report.findings == ()
    assert [writer.entries for writer in report.writers] == [7]


def test_without_a_state_each_session_is_a_writer(tmp_path: Path) -> None:
    """One chain a session; the next session's first entry names the one before, so its tail cannot be cut."""
    store = MemoryStore()
    names = _write(_journal(store), store, [1, 2])
    _write(_journal(store), store, [3])
    assert not _audit(store).findings

    store.delete(names[1])

    assert _kinds(_audit(store)) == {FindingKind.CUT_TAIL}


def test_a_state_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    """A file where the directory should be: the session keeps one writer in memory."""
    store = MemoryStore()
    (tmp_path / "file").write_text("in the way")
    journal = _journal(store, tmp_path / "file/state")

    names = _write(journal, store, [1, 2])

    assert not journal.keeper.is_persistent
    assert [name[-1] for name in names] == ["1", "2"]
    assert not _audit(store, tmp_path / "file/state").findings


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version":1}', b"[1]", b"\xff\xfe"])
def test_a_damaged_state_counts_as_lost(tmp_path: Path, content: bytes) -> None:
    """A new writer goes on; the audit says that this machine remembers nothing."""
    store, state = MemoryStore(), tmp_path / "one"
    _write(_journal(store, state), store, [1])
    (state / "journal.json").write_bytes(content)

    assert _audit(store, state).is_first_look
    (name,) = _write(_journal(store, state), store, [2])

    assert name.endswith("/000000000001")
    assert not _audit(store, state).findings


def test_a_changed_state_counts_as_lost(tmp_path: Path) -> None:
    """The checksum covers the whole state: a digit that changed makes no writer with another head."""
    store, state = MemoryStore(), tmp_path / "one"
    _write(_journal(store, state), store, [1])
    path = state / "journal.json"
    path.write_bytes(path.read_bytes().replace(b'"sequence":1', b'"sequence":7'))

    assert StateKeeper(state).read().writer is None


def test_the_private_key_is_the_owners(tmp_path: Path) -> None:
    """Modes 0700 and 0600, whatever the umask."""
    before = os.umask(0)
    try:
        _journal(MemoryStore(), tmp_path / "state").append([_record(1)])
    finally:
        os.umask(before)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert modes == {"journal.json": 0o600, "journal.lock": 0o600}


def test_a_store_rolled_back_is_found_by_who_saw_more(tmp_path: Path) -> None:
    """Last week's copy is whole in itself; the machine that wrote or audited since then knows better."""
    store = MemoryStore()
    _write(_journal(store, tmp_path / "one"), store, [1, 2])
    last_week = _copy(store)
    _write(_journal(store, tmp_path / "one"), store, [3])
    assert not _audit(store, tmp_path / "auditor").findings

    for state in ("one", "auditor"):
        report = _audit(last_week, tmp_path / state)
        assert _kinds(report) == {FindingKind.ROLLED_BACK}
        assert not report.is_whole
    stranger = _audit(last_week, tmp_path / "stranger")
    assert stranger.findings == ()
    assert stranger.is_first_look


def test_what_was_remembered_is_not_forgotten(tmp_path: Path) -> None:
    """An audit of the rolled-back copy does not lower what the machine remembers; and it tells the others."""
    store = MemoryStore()
    _write(_journal(store, tmp_path / "one"), store, [1])
    last_week = _copy(store)
    _write(_journal(store, tmp_path / "one"), store, [2])
    _audit(store, tmp_path / "two")

    assert _kinds(_audit(last_week, tmp_path / "two")) == {FindingKind.ROLLED_BACK}
    assert _kinds(_audit(last_week, tmp_path / "two")) == {FindingKind.ROLLED_BACK}
    _write(_journal(last_week, tmp_path / "two"), last_week, [3])
    assert _kinds(_audit(last_week)) == {FindingKind.CUT_TAIL}


def test_an_entry_signed_by_another_key_is_found(tmp_path: Path) -> None:
    """Whoever has every key of the repository, but not the writer's, cannot write in its name."""
    store = MemoryStore()
    names = _write(_journal(store, tmp_path / "one"), store, [1, 2])
    writer = names[1].split("/")[1]
    forger = Writer.new().key
    previous = journal_entry.digest_of(store.get(names[0]))
    body = journal_entry.signed_entry(
        forger, repository=REPOSITORY, sequence=2, previous=previous, at=NOON, events=[expired(_name(1))], heads={}
    ).replace(journal_entry.writer_of(forger.public_key()).encode(), writer.encode())
    _replace(store, names[1], seal_object(KEYRING, Kind.JOURNAL, names[1], body))
    store.delete(_name(1))

    report = _audit(store)

    assert _kinds(report) == {FindingKind.WRONG_SIGNATURE, FindingKind.MISSING_OBJECT}


def test_the_same_words_sealed_anew_break_the_chain(tmp_path: Path) -> None:
    """The chain is of objects' bytes: an entry that was put again with another salt is not the one that was named."""
    store = MemoryStore()
    names = _write(_journal(store, tmp_path / "one"), store, [1, 2])
    body = read_object(store, KEYRING, Kind.JOURNAL, names[0]).body
    _replace(store, names[0], seal_object(KEYRING, Kind.JOURNAL, names[0], body))

    assert _kinds(_audit(store)) == {FindingKind.BROKEN_CHAIN}


def test_a_replaced_last_entry_is_found_by_who_verified_it(tmp_path: Path) -> None:
    """Nothing names the last entry's digest yet, but for the machine that verified it."""
    store = MemoryStore()
    (name,) = _write(_journal(store, tmp_path / "one"), store, [1])
    _audit(store, tmp_path / "auditor")
    body = read_object(store, KEYRING, Kind.JOURNAL, name).body
    _replace(store, name, seal_object(KEYRING, Kind.JOURNAL, name, body))

    assert _kinds(_audit(store, tmp_path / "auditor")) == {FindingKind.REPLACED_ENTRY}


def test_an_entry_of_another_repository_does_not_count(tmp_path: Path) -> None:
    """Siblings share their keys, so a sibling's journal opens here; its entries name their own repository."""
    store, sibling = MemoryStore(), MemoryStore()
    name = str(Journal(sibling, KEYRING, repository="0" * 32, clock=_Clock(), state=None).append([_record(1)]))
    store.put_if_absent(name, sibling.get(name))

    (finding,) = _audit(store).findings

    assert finding.kind is FindingKind.UNREADABLE_ENTRY
    assert "repository" in finding.text


def test_a_backup_that_was_replaced_is_found(tmp_path: Path) -> None:
    """The journal knows the manifest's bytes: another manifest under the name, well sealed, is not the one."""
    store = MemoryStore()
    store.put_if_absent(MANIFEST, b"another manifest")
    _journal(store, tmp_path / "one").append([backup_made(MANIFEST, journal_entry.digest_of(b"the manifest"))])
    read = Snapshot(names=frozenset({MANIFEST}), digests={MANIFEST: journal_entry.digest_of(b"another manifest")})

    assert _kinds(_audit(store, look=lambda: read)) == {FindingKind.REPLACED_OBJECT}
    unread = _audit(store)
    assert unread.findings == ()
    assert unread.unchecked_digests == 1


def test_an_expiry_while_the_audit_runs_is_no_loss(tmp_path: Path) -> None:
    """The event precedes the deletion, and the journal is read again after looking: nothing is missing."""
    store = MemoryStore()
    journal = _journal(store, tmp_path / "one")
    _write(journal, store, [1, 2])

    def look() -> Snapshot:
        journal.append([expired(_name(1))])
        store.delete(_name(1))
        _write(journal, store, [3])
        return look_at_store(store)

    assert _audit(store, look=look).findings == ()


def test_the_store_tells_segments_of_wal(tmp_path: Path) -> None:
    """A range of complete segments is there when every one is listed, and the missing one is named by its LSN."""
    store = MemoryStore()
    folder = f"wal/73456/00000001-{'ab' * 16}"
    for number in (2, 3, 4):
        store.put_if_absent(f"{folder}/0000000100000000000000{number:02X}.16MB", b"wal")
    event = journal_entry.wal_stored("73456", f"00000001-{'ab' * 16}", Lsn.parse("0/2000000"), Lsn.parse("0/5000000"))
    _journal(store, tmp_path / "one").append([event])
    assert _audit(store).findings == ()

    store.delete(f"{folder}/000000010000000000000003.16MB")

    (finding,) = _audit(store).findings
    assert finding.kind is FindingKind.MISSING_WAL
    assert "[0/3000000, 0/4000000)" in finding.text


def test_a_store_that_says_yes_to_every_name_is_refused(tmp_path: Path) -> None:
    """RP007, and no endless search for a free writer."""

    class Taken(MemoryStore):
        def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
            del name, data, durable
            return False

    with pytest.raises(errors.SafepointError) as caught:
        _journal(Taken(), tmp_path / "one").append([_record(1)])
    assert caught.value.spec is errors.RP007


def test_an_attempt_that_landed_unseen_is_the_entry(tmp_path: Path) -> None:
    """A store that stored, lost its answer and was asked again says that the name is taken: by these very bytes."""

    class Forgetful(MemoryStore):
        def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
            return super().put_if_absent(name, data, durable=durable) and not name.startswith("journal/")

    store = Forgetful()

    names = _write(_journal(store, tmp_path / "one"), store, [1, 2])

    report = _audit(store)
    assert [name[-1] for name in names] == ["1", "2"]
    assert (report.findings, report.entries) == ((), 2)


def test_a_state_that_stops_being_writable_is_kept_in_memory(tmp_path: Path) -> None:
    """The session goes on with its writer; the append does not fail for it."""
    store, state = MemoryStore(), tmp_path / "one"
    journal = _journal(store, state)
    _write(journal, store, [1])
    (state / "journal.json").unlink()
    (state / "journal.json").mkdir()

    names = _write(journal, store, [2, 3])

    assert not journal.keeper.is_persistent
    assert [name[-1] for name in names] == ["1", "2"]
    assert not _audit(store).findings


def test_names_that_are_no_entries_are_noticed(tmp_path: Path) -> None:
    """Objects that do not belong there take part in nothing, and are named."""
    store = MemoryStore()
    _write(_journal(store, tmp_path / "one"), store, [1])
    for name in ("journal/x", f"journal/{'a' * 32}/000000000000", f"journal/{'a' * 32}/1"):
        store.put_if_absent(name, b"")

    report = _audit(store)

    assert [finding.kind for finding in report.findings] == [FindingKind.STRANGE_NAME] * 3
    assert report.is_whole
    assert entry_name("a" * 32, 1) == f"journal/{'a' * 32}/000000000001"
