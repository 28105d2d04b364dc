"""The writers' journal over every store: what it costs, what survives a crash, and what an attacker cannot hide."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

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
from safepoint import errors
from safepoint.repository.commit import journal_entry
from safepoint.repository.commit.journal import fetch_entry, list_heads
from safepoint.repository.commit.journal_audit import (
    JournalFindingKind,
    Snapshot,
)
from safepoint.repository.commit.journal_state import JournalState, StateKeeper
from safepoint.repository.sealing.objects import seal_object
from safepoint.repository.sealing.seal import Kind
from safepoint.stores import FolderStore, MemoryStore, Meter, Store
from safepoint.stores.metering import Call, MeteredStore
from safepoint.stores.port import Data


def test_an_honest_journal_has_no_finding(store: Store, tmp_path: Path) -> None:
    """Two writers, several entries, everything there: whole, on every store."""
    write_records(journal_in(store, tmp_path / "one"), store, [1, 2, 3])
    write_records(journal_in(store, tmp_path / "two"), store, [4])
    write_records(journal_in(store, tmp_path / "one"), store, [5])

    report = audit_of(store)

    assert report.findings == ()
    assert report.is_whole
    assert sorted(writer.entries for writer in report.writers) == [1, 4]
    assert report.entries == 5


class _Once:
    """Keeps the state once; whoever wants to keep it again is killed."""

    def __init__(self, save: Callable[[JournalState], None]) -> None:
        self._save: Callable[[JournalState], None] | None = save

    def __call__(self, state: JournalState) -> None:
        save, self._save = self._save, None
        if save is None:
            raise KeyboardInterrupt
        save(state)


def test_a_process_killed_after_its_put_is_gone_on_from(store: Store, tmp_path: Path) -> None:
    """The entry that was pending is the machine's own: the chain goes on from it, with one writer and no hole."""
    state = tmp_path / "one"
    write_records(journal_in(store, state), store, [1])
    dying = journal_in(store, state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dying.keeper, "save", _Once(dying.keeper.save))
        with pytest.raises(KeyboardInterrupt):
            write_records(dying, store, [2])

    (name,) = write_records(journal_in(store, state), store, [3])

    report = audit_of(store)
    assert name.endswith("/000000000003")
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
        journal_in(Dying(), tmp_path / "one").append([record_event(1)])
    store.put_if_absent(record_event(1).name, b"evidence")
    (name,) = write_records(journal_in(store, tmp_path / "one"), store, [2])

    assert name.endswith("/000000000002")
    assert audit_of(store).findings == ()


def test_a_place_taken_by_somebody_else_makes_a_new_writer(tmp_path: Path) -> None:
    """Rubbish under the next name does not stop the writer; the audit names it."""
    store = MemoryStore()
    journal = journal_in(store, tmp_path / "one")
    (name,) = write_records(journal, store, [1])
    squatted = name[:-1] + "2"
    store.put_if_absent(squatted, b"rubbish")

    (other,) = write_records(journal, store, [2])

    assert other.endswith("/000000000001")
    assert squatted in {name for finding in audit_of(store).findings for name in finding.objects}


def test_a_fork_of_its_own_is_not_adopted(tmp_path: Path) -> None:
    """An entry of its own key that does not follow the head it knows: the writer does not go on from there."""
    store = MemoryStore()
    (name,) = write_records(journal_in(store, tmp_path / "one"), store, [1])
    writer = StateKeeper(tmp_path / "one").read().writer
    assert writer is not None
    body = journal_entry.signed_entry(
        writer.key, repository=REPOSITORY, sequence=2, previous="ab" * 32, at=NOON, events=(), heads={}
    )
    forked = f"{name[:-1]}2"
    store.put_if_absent(forked, seal_object(KEYRING, Kind.JOURNAL, forked, body))

    (other,) = write_records(journal_in(store, tmp_path / "one"), store, [2])

    assert other.split("/")[1] != writer.id
    assert finding_kinds(audit_of(store)) == {JournalFindingKind.BROKEN_CHAIN, JournalFindingKind.NEW_WRITER}


def test_heads_are_told_once(tmp_path: Path) -> None:
    """An entry names only what its writer has not told before, so that many writers do not make long entries."""
    store = MemoryStore()
    write_records(journal_in(store), store, [1])
    names = write_records(journal_in(store, tmp_path / "one"), store, [2, 3])

    found = [fetch_entry(store, KEYRING, REPOSITORY, name) for name in names]

    assert [len(entry.heads) for entry in found if isinstance(entry, journal_entry.Entry)] == [1, 0]


def test_an_append_costs_one_put_and_one_listing_an_hour(tmp_path: Path) -> None:
    """No object is read; other writers are looked for once in the session, and again after an hour."""
    meter, clock = Meter(), TickingClock()
    journal = journal_in(MeteredStore(MemoryStore(), meter), tmp_path / "one", clock)

    for number in range(5):
        journal.append([record_event(number), record_event(number + 100)])
    clock.now += timedelta(hours=1)
    journal.append([record_event(9)])

    assert meter.usage().calls == {Call.PUT: 6, Call.LIST: 2}


def test_nothing_to_say_is_no_entry(tmp_path: Path) -> None:
    """An empty batch costs nothing."""
    store = MemoryStore()

    assert journal_in(store, tmp_path / "one").append([]) is None
    assert list(store.list("")) == []


def test_threads_of_one_journal_make_one_chain(tmp_path: Path) -> None:
    """Appends at the same time neither fork nor skip."""
    store = MemoryStore()
    journal = journal_in(store, tmp_path / "one")

    with ThreadPoolExecutor(4) as pool:
        names = set(pool.map(lambda number: journal.append([record_event(number)]), range(20)))

    assert len(names) == 20
    assert list(list_heads(store).values()) == [20]
    assert not audit_of(store, look=lambda: Snapshot(names=frozenset(map(record_name, range(20))))).findings


def _append_some(root: Path, state: Path, first: int) -> None:
    store = FolderStore(root)
    for number in range(first, first + 10):
        write_records(journal_in(store, state), store, [number])


def test_processes_of_one_host_share_a_writer(tmp_path: Path) -> None:
    """Two processes, one state directory: one chain of all their entries."""
    context = multiprocessing.get_context("spawn")
    arguments = [(tmp_path / "store", tmp_path / "state", first) for first in (0, 100)]
    processes = [context.Process(target=_append_some, args=values) for values in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    report = audit_of(FolderStore(tmp_path / "store"))
    assert [process.exitcode for process in processes] == [0, 0]
    assert report.findings == ()
    assert [writer.entries for writer in report.writers] == [20]


def test_a_copied_state_makes_no_fork(tmp_path: Path) -> None:
    """Of two machines cloned from one image, the second to write becomes a writer of its own, once and for all."""
    store = MemoryStore()
    write_records(journal_in(store, tmp_path / "one"), store, [1])
    (tmp_path / "two").mkdir()
    (tmp_path / "two/journal.json").write_bytes((tmp_path / "one/journal.json").read_bytes())

    for number in range(2, 8):
        write_records(journal_in(store, tmp_path / ("one" if number % 2 else "two")), store, [number])

    report = audit_of(store)
    assert report.is_whole
    assert finding_kinds(report) == {JournalFindingKind.NEW_WRITER}
    assert sorted(writer.entries for writer in report.writers) == [3, 4]


def test_without_a_state_each_session_is_a_writer(tmp_path: Path) -> None:
    """One chain a session; the next session's first entry names the one before, so its tail cannot be cut."""
    store = MemoryStore()
    names = write_records(journal_in(store), store, [1, 2])
    write_records(journal_in(store), store, [3])
    assert not audit_of(store).findings

    store.delete(names[1])

    assert finding_kinds(audit_of(store)) == {JournalFindingKind.CUT_TAIL}


def test_a_state_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    """A file where the directory should be: the session keeps one writer in memory."""
    store = MemoryStore()
    (tmp_path / "file").write_text("in the way")
    journal = journal_in(store, tmp_path / "file/state")

    names = write_records(journal, store, [1, 2])

    assert not journal.keeper.is_persistent
    assert [name[-1] for name in names] == ["1", "2"]
    assert not audit_of(store, tmp_path / "file/state").findings


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version":1}', b"[1]", b"\xff\xfe"])
def test_a_damaged_state_counts_as_lost(tmp_path: Path, content: bytes) -> None:
    """A new writer goes on; the audit says that this machine remembers nothing."""
    store, state = MemoryStore(), tmp_path / "one"
    write_records(journal_in(store, state), store, [1])
    (state / "journal.json").write_bytes(content)

    assert audit_of(store, state).is_first_look
    (name,) = write_records(journal_in(store, state), store, [2])

    assert name.endswith("/000000000001")
    assert not audit_of(store, state).findings


def test_a_changed_state_counts_as_lost(tmp_path: Path) -> None:
    """The checksum covers the whole state: a digit that changed makes no writer with another head."""
    store, state = MemoryStore(), tmp_path / "one"
    write_records(journal_in(store, state), store, [1])
    path = state / "journal.json"
    path.write_bytes(path.read_bytes().replace(b'"sequence":1', b'"sequence":7'))

    assert StateKeeper(state).read().writer is None


def test_the_private_key_is_the_owners(tmp_path: Path) -> None:
    """Modes 0700 and 0600, whatever the umask."""
    before = os.umask(0)
    try:
        journal_in(MemoryStore(), tmp_path / "state").append([record_event(1)])
    finally:
        os.umask(before)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert modes == {"journal.json": 0o600, "journal.lock": 0o600}


def test_a_store_that_says_yes_to_every_name_is_refused(tmp_path: Path) -> None:
    """RP007, and no endless search for a free writer."""

    class Taken(MemoryStore):
        def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
            del name, data, durable
            return False

    with pytest.raises(errors.SafepointError) as caught:
        journal_in(Taken(), tmp_path / "one").append([record_event(1)])
    assert caught.value.spec is errors.RP007


def test_an_attempt_that_landed_unseen_is_the_entry(tmp_path: Path) -> None:
    """A store that stored, lost its answer and was asked again says that the name is taken: by these very bytes."""

    class Forgetful(MemoryStore):
        def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
            return super().put_if_absent(name, data, durable=durable) and not name.startswith("journal/")

    store = Forgetful()

    names = write_records(journal_in(store, tmp_path / "one"), store, [1, 2])

    report = audit_of(store)
    assert [name[-1] for name in names] == ["1", "2"]
    assert (report.findings, report.entries) == ((), 2)


def test_a_state_that_stops_being_writable_is_kept_in_memory(tmp_path: Path) -> None:
    """The session goes on with its writer; the append does not fail for it."""
    store, state = MemoryStore(), tmp_path / "one"
    journal = journal_in(store, state)
    write_records(journal, store, [1])
    (state / "journal.json").unlink()
    (state / "journal.json").mkdir()

    names = write_records(journal, store, [2, 3])

    assert not journal.keeper.is_persistent
    assert [name[-1] for name in names] == ["1", "2"]
    assert not audit_of(store).findings
