"""What a journal claims to be stored, and what of that is missing."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from journal_histories import WritersHistory, kinds_of
from safepoint.model.lsn import Lsn
from safepoint.repository.commit import journal_event
from safepoint.repository.commit.journal_claims import Snapshot, judge_claims, merged, minus
from safepoint.repository.commit.journal_finding import JournalFinding, JournalFindingKind, Severity
from safepoint.repository.commit.journal_state import greatest

FOLDER = f"wal/73456/00000001-{'ab' * 16}"


def _claims(history: WritersHistory, stored: Snapshot) -> tuple[JournalFinding, ...]:
    return judge_claims(history.entries, history.entries, stored)


def test_what_expired_is_not_missed() -> None:
    """By the same writer or another; present again it is a notice, and no damage."""
    history = WritersHistory()
    history.put(0, [journal_event.record_put("records/a/1"), journal_event.record_put("records/a/2")])
    history.put(0, [journal_event.expired("records/a/1")])
    history.put(1, [journal_event.expired("records/a/2")])

    assert _claims(history, Snapshot()) == ()
    (notice,) = _claims(history, Snapshot(names=frozenset({"records/a/1"})))
    assert (notice.kind, notice.severity) == (JournalFindingKind.RETURNED_OBJECT, Severity.NOTICE)


def test_what_was_stored_again_by_who_knew_is_claimed_again() -> None:
    """An expiry strikes out what came before it, or beside it, never what a writer that knew of it did later."""
    history = WritersHistory()
    history.put(0, [journal_event.record_put("records/a/1")])
    history.put(1, [journal_event.expired("records/a/1")])
    assert _claims(history, Snapshot()) == ()

    history.put(2, [journal_event.record_put("records/a/1")], has_looked=False)
    assert _claims(history, Snapshot()) == ()
    history.put(2, [journal_event.record_put("records/a/1")])

    assert kinds_of(_claims(history, Snapshot())) == [JournalFindingKind.MISSING_OBJECT]


def test_an_expiry_that_is_not_signed_expires_nothing() -> None:
    """Who has the repository's keys and no writer's cannot excuse a deletion in a writer's name."""
    history = WritersHistory()
    claim = history.put(0, [journal_event.record_put("records/a/1")])
    forged = replace(history.put(1, [journal_event.expired("records/a/1")]), is_signed=False)

    assert kinds_of(judge_claims([claim, forged], [claim, forged], Snapshot())) == [JournalFindingKind.MISSING_OBJECT]


def test_two_digests_of_one_backup_are_found() -> None:
    """A writer that claims another digest for a replaced manifest does not make it right."""
    name = "backups/7/x"
    history = WritersHistory()
    history.put(0, [journal_event.backup_made(name, "aa" * 32)])
    history.put(1, [journal_event.backup_made(name, "bb" * 32)])

    unread = _claims(history, Snapshot(names=frozenset({name})))
    read = _claims(history, Snapshot(names=frozenset({name}), digests={name: "bb" * 32}))

    assert kinds_of(unread) == kinds_of(read) == [JournalFindingKind.REPLACED_OBJECT]
    assert "aaaa" in read[0].text


def test_keys_that_are_older_than_the_journal_are_found() -> None:
    """A hidden rotation would make writers seal for a passphrase that was shut out."""
    history = WritersHistory()
    history.put(0, [journal_event.key_rotated(3), journal_event.key_added("keys/1"), journal_event.key_added("keys/2")])
    history.put(0, [journal_event.key_removed("keys/1")])
    stored = Snapshot(names=frozenset({"keys/2"}), generation=3)

    assert _claims(history, stored) == ()
    assert _claims(history, replace(stored, generation=None)) == ()
    assert kinds_of(_claims(history, replace(stored, generation=2))) == [JournalFindingKind.OLD_KEYS]
    assert kinds_of(_claims(history, replace(stored, names=frozenset({"keys/1"})))) == [
        JournalFindingKind.RETURNED_OBJECT,
        JournalFindingKind.MISSING_OBJECT,
    ]


ranges = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)


@given(ranges, ranges)
def test_ranges_are_sets_of_bytes(some: list[tuple[int, int]], holes: list[tuple[int, int]]) -> None:
    """Merging and subtracting agree with sets; the result of merging is sorted and disjoint."""
    whole = merged(some)
    bytes_of = {byte for start, end in some for byte in range(start, end)}
    bytes_off = {byte for start, end in holes for byte in range(start, end)}

    assert [byte for start, end in whole for byte in range(start, end)] == sorted(bytes_of)
    assert {byte for start, end in minus(whole, merged(holes)) for byte in range(start, end)} == bytes_of - bytes_off


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(1, 4)), max_size=10), st.sets(st.integers(0, 12))
)
def test_missing_wal_is_what_was_claimed_since_and_is_not_there(
    steps: list[tuple[bool, int, int]], held: set[int]
) -> None:
    """One writer claims and expires ranges in turn; missing is what the last word on each segment claims."""
    history, claimed = WritersHistory(), set[int]()
    for is_claim, start, length in steps:
        event = journal_event.wal_stored if is_claim else journal_event.wal_expired
        history.put(0, [event("73456", FOLDER.rpartition("/")[2], Lsn(start), Lsn(start + length))])
        change = set(range(start, start + length))
        claimed = claimed | change if is_claim else claimed - change
    stored = Snapshot(wal={FOLDER: [(Lsn(at), Lsn(at + 1)) for at in held]})

    findings = _claims(history, stored)

    named = {at for at in range(14) for finding in findings if _covers(finding.text, at)}
    assert named == claimed - held


def _covers(text: str, at: int) -> bool:
    start, end = text.partition("[")[2].partition(")")[0].split(", ")
    return Lsn.parse(start) <= Lsn(at) < Lsn.parse(end)


def test_the_greater_is_kept() -> None:
    """By writer."""
    assert greatest({"a": 1, "b": 5}, {"b": 2, "c": 3}) == {"a": 1, "b": 5, "c": 3}
