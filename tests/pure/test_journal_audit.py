"""Judging a journal: any single deletion or replacement is found, and an honest history never is accused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepoint.model.lsn import Lsn
from safepoint.repository.commit import journal_entry
from safepoint.repository.commit.journal_chains import Read, judge_chains, listed_heads, told_heads, whole_heads
from safepoint.repository.commit.journal_claims import Snapshot, judge_claims, merged, minus
from safepoint.repository.commit.journal_entry import Entry, JournalEvent, Unreadable
from safepoint.repository.commit.journal_finding import Finding, FindingKind, Severity
from safepoint.repository.commit.journal_state import Head, JournalState, Writer, greatest
from safepoint.repository.sealing.checked_json import canonical

REPOSITORY = "5afe" * 8
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOTHING = JournalState()
WRITERS = [Writer.new() for _ in range(3)]
FOLDER = f"wal/73456/00000001-{'ab' * 16}"


@dataclass
class _History:
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
        entry = _read(body, WRITERS[writer].id, len(mine) + 1)
        self.entries.append(entry)
        return entry


def _read(body: bytes, writer: str, sequence: int) -> Entry:
    digest = journal_entry.digest_of(body)
    return journal_entry.read_entry(body, digest, repository=REPOSITORY, writer=writer, sequence=sequence)


def _kinds(findings: Sequence[Finding]) -> list[FindingKind]:
    return [finding.kind for finding in findings]


def _judge(entries: Sequence[Read], state: JournalState = NOTHING) -> tuple[Finding, ...]:
    return judge_chains(entries, entries, state)


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """Up to twelve entries of three writers, each of which has or has not looked around."""
    history = _History()
    for writer, has_looked in draw(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=12)):
        history.put(writer, has_looked=has_looked)
    return history.entries


def _remembering(entries: Sequence[Entry]) -> JournalState:
    return JournalState(seen=listed_heads(entries), verified=whole_heads(entries, entries, NOTHING))


@given(histories())
def test_an_honest_journal_is_whole(entries: list[Entry]) -> None:
    """Nothing is found, by whoever remembers any earlier part of it."""
    for known in range(len(entries) + 1):
        assert _judge(entries, _remembering(entries[:known])) == ()


@given(histories(), st.data())
def test_any_deleted_entry_is_found_but_an_unseen_tail(entries: list[Entry], data: st.DataObject) -> None:
    """Found exactly when it was not the last of its writer, or another writer's entry told of it."""
    gone = data.draw(st.sampled_from(entries))
    left = [entry for entry in entries if entry is not gone]
    is_seen = gone.sequence < listed_heads(entries)[gone.writer] or gone.sequence <= told_heads(left).get(
        gone.writer, 0
    )

    found = _judge(left)

    assert bool(found) == is_seen
    assert all(finding.severity is Severity.UNKNOWN for finding in found)
    assert not is_seen or gone.name in {name for finding in found for name in finding.objects}


@given(histories(), st.data())
def test_who_remembers_finds_any_deletion(entries: list[Entry], data: st.DataObject) -> None:
    """A machine that saw all of it finds any set of entries gone."""
    left = data.draw(st.lists(st.sampled_from(entries), unique_by=lambda entry: entry.name, max_size=len(entries)))

    assert bool(_judge(left, _remembering(entries))) == (len(left) < len(entries))


@given(histories(), st.data())
def test_any_older_copy_is_found_by_who_remembers(entries: list[Entry], data: st.DataObject) -> None:
    """A prefix of the whole history is a store rolled back."""
    length = data.draw(st.integers(0, len(entries) - 1))

    found = _judge(entries[:length], _remembering(entries))

    assert found
    assert set(_kinds(found)) <= {FindingKind.ROLLED_BACK, FindingKind.CUT_TAIL}


@given(histories(), st.data())
def test_any_replaced_entry_is_found(entries: list[Entry], data: st.DataObject) -> None:
    """By rubbish, by another key's entry; by the same words sealed anew unless nothing follows them."""
    index = data.draw(st.integers(0, len(entries) - 1))
    gone = entries[index]
    forged = {
        "rubbish": Unreadable(writer=gone.writer, sequence=gone.sequence, because="found rubbish"),
        "forged": replace(gone, is_signed=False),
        "sealed anew": replace(gone, digest="0" * 64),
    }
    is_last = gone.sequence == listed_heads(entries)[gone.writer]
    for name, entry in forged.items():
        replaced = [*entries[:index], entry, *entries[index + 1 :]]
        assert _judge(replaced) or (name == "sealed anew" and is_last)
        assert _judge(replaced, _remembering(entries))


@given(histories(), histories())
def test_what_is_put_while_the_journal_is_read_is_no_gap(one: list[Entry], other: list[Entry]) -> None:
    """The second reading may show any later entries, some and not others: nothing is due beyond the first."""
    history = _History(entries=list(one))
    for entry in other:
        history.put([writer.id for writer in WRITERS].index(entry.writer))
    later = history.entries[len(one) :]

    for shown in (later, later[::2], later[1::2]):
        assert judge_chains(one, [*one, *shown], NOTHING) == ()


def test_entries_missed_by_the_first_listing_are_read_by_the_second() -> None:
    """A listing may lack an entry that is put meanwhile and show the next: the second listing has both."""
    history = _History()
    one, two, three = (history.put(0) for _ in range(3))

    assert judge_chains([one, three], [one, two, three], NOTHING) == ()


def test_a_listing_that_was_overtaken_accuses_nobody() -> None:
    """The first listing passed a writer, which then wrote, and another told of it before the listing came there."""
    history = _History()
    one, two, other = history.put(0), history.put(0), history.put(1)

    assert judge_chains([one, other], [one, two, other], NOTHING) == ()
    assert _kinds(judge_chains([one, other], [one, other], NOTHING)) == [FindingKind.CUT_TAIL]


def test_a_first_entry_that_follows_another_is_found() -> None:
    """Nothing comes before entry 1."""
    entry = replace(_History().put(0), previous="ab" * 32)

    (finding,) = _judge([entry])

    assert finding.kind is FindingKind.BROKEN_CHAIN
    assert "no entry" in finding.text


def test_a_missing_first_entry_is_found() -> None:
    """The chain begins with entry 1, by which it is named."""
    history = _History()
    history.put(0)
    second = history.put(0)

    (finding,) = _judge([second])

    assert finding.kind is FindingKind.MISSING_LINK
    assert "entry 2" in finding.text
    assert "entry 1" in finding.text


def test_a_writer_that_is_wholly_gone_is_found() -> None:
    """Another writer has named it."""
    history = _History()
    history.put(0)
    history.put(0)
    last = history.put(1)

    (finding,) = _judge([last])

    assert finding.kind is FindingKind.CUT_TAIL
    assert "entries 1 to 2" in finding.text


def test_a_head_told_without_a_signature_counts_nothing() -> None:
    """Who cannot sign cannot accuse."""
    history = _History()
    history.put(0)
    liar = replace(history.put(1), heads={WRITERS[0].id: 99}, is_signed=False)

    assert _kinds(_judge([history.entries[0], liar])) == [FindingKind.WRONG_SIGNATURE]


def test_a_huge_gap_is_told_in_few_names() -> None:
    """A name may claim any sequence; the finding lists the first names only."""
    entry = Unreadable(writer=WRITERS[0].id, sequence=999_999_999_999, because="found rubbish")

    findings = _judge([entry])

    assert _kinds(findings) == [FindingKind.UNREADABLE_ENTRY, FindingKind.MISSING_LINK]
    assert len(findings[1].objects) == 20


def test_only_whole_chains_are_remembered_as_verified() -> None:
    """What was accused is not taken for the truth the next time."""
    history = _History()
    one, two = history.put(0), history.put(0)
    other = history.put(1, has_looked=False)

    assert whole_heads([two, other], [two, other], NOTHING) == {other.writer: Head(sequence=1, digest=other.digest)}
    assert whole_heads([one, two], [one, two], NOTHING) == {two.writer: Head(sequence=2, digest=two.digest)}


def test_a_writer_is_named_for_its_key() -> None:
    """Another key under a writer's name, its signature sound, is not that writer."""
    forger = Writer.new()
    body = journal_entry.signed_entry(
        forger.key, repository=REPOSITORY, sequence=1, previous="", at=NOON, events=(), heads={}
    )
    value = {**json.loads(body), "writer": WRITERS[0].id}
    del value["signature"]
    signature = forger.key.sign(b"safepoint journal 1\n" + canonical(value)).hex()

    entry = _read(canonical({**value, "signature": signature}), WRITERS[0].id, 1)

    assert not entry.is_signed
    assert _read(body, forger.id, 1).is_signed


@pytest.mark.parametrize(
    "field", ["repository", "sequence", "previous", "at", "events", "heads", "key", "signature", "writer"]
)
def test_an_entry_without_a_field_is_none(field: str) -> None:
    """ValueError, which says what is missing."""
    value = json.loads(_body())
    del value[field]

    with pytest.raises(ValueError, match="expected"):
        _read(canonical(value), WRITERS[0].id, 1)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("repository", "other"),
        ("sequence", 2),
        ("writer", "00"),
        ("at", "noon"),
        ("at", 5),
        ("events", 7),
        ("events", [7]),
        ("events", [{}]),
        ("events", [{"event": "key", "change": "stolen"}]),
        ("heads", {"x": 1}),
        ("heads", {"a" * 32: 0}),
        ("heads", {"a" * 32: True}),
        ("heads", []),
        ("signature", 5),
    ],
)
def test_an_entry_with_a_wrong_field_is_none(field: str, wrong: object) -> None:
    """Whatever a writer of the store makes of it, reading says so and does not fall over."""
    value = {**json.loads(_body()), field: wrong}

    with pytest.raises(ValueError, match=r"."):
        _read(canonical(value), WRITERS[0].id, 1)


@pytest.mark.parametrize("body", [b"", b"[]", b"[[1,2]]", b"7", b"null", b'{"b":1, "a":2}', b"\xff"])
def test_other_bytes_are_no_entry(body: bytes) -> None:
    """Only the one spelling is read: what is signed is what is there."""
    with pytest.raises(ValueError, match=r"."):
        _read(body, WRITERS[0].id, 1)


def test_another_spelling_is_no_entry() -> None:
    """The same fields with a blank more would open, and be signed; the chain must not depend on who spells."""
    with pytest.raises(ValueError, match="another spelling"):
        _read(json.dumps(json.loads(_body()), sort_keys=True).encode(), WRITERS[0].id, 1)


@given(st.data())
def test_any_changed_letter_is_found(data: st.DataObject) -> None:
    """No byte of an entry is outside its signature."""
    body = bytearray(_body())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] = data.draw(st.integers(32, 126).filter(lambda letter: letter != body[at]))

    try:
        entry = _read(bytes(body), WRITERS[0].id, 1)
    except ValueError:
        return
    assert not entry.is_signed


def _body() -> bytes:
    return journal_entry.signed_entry(
        WRITERS[0].key,
        repository=REPOSITORY,
        sequence=1,
        previous="",
        at=NOON,
        events=[journal_entry.backup_made("backups/7/x", "ab" * 32), journal_entry.packs_collected(3)],
        heads={WRITERS[1].id: 4},
    )


def test_events_survive_their_spelling() -> None:
    """Every kind reads back as it was written, and an unknown kind of a later version does not hide the others."""
    events = (
        journal_entry.backup_made("backups/7/x", "ab" * 32),
        journal_entry.expired("backups/7/x"),
        journal_entry.wal_stored("7", "00000001-" + "ab" * 16, Lsn(0), Lsn(1 << 24)),
        journal_entry.wal_expired("7", "00000001-" + "ab" * 16, Lsn(0), Lsn(1 << 24)),
        journal_entry.record_put("records/drill/1"),
        journal_entry.index_put("indexes/1"),
        journal_entry.key_added("keys/1"),
        journal_entry.key_removed("keys/1"),
        journal_entry.key_rotated(2),
        journal_entry.packs_collected(0),
    )
    entry = _History().put(0, events)
    value = json.loads(_body())
    value["events"] = [{"event": "moved"}, {"event": "index", "name": "indexes/1"}]

    later = _read(canonical(value), WRITERS[0].id, 1)

    assert entry.events == events
    assert later.events == (journal_entry.index_put("indexes/1"),)
    assert _kinds(judge_claims([later], [later], Snapshot(names=frozenset({"indexes/1"})))) == [
        FindingKind.UNKNOWN_EVENT
    ]


def _claims(history: _History, stored: Snapshot) -> tuple[Finding, ...]:
    return judge_claims(history.entries, history.entries, stored)


def test_what_expired_is_not_missed() -> None:
    """By the same writer or another; present again it is a notice, and no damage."""
    history = _History()
    history.put(0, [journal_entry.record_put("records/a/1"), journal_entry.record_put("records/a/2")])
    history.put(0, [journal_entry.expired("records/a/1")])
    history.put(1, [journal_entry.expired("records/a/2")])

    assert _claims(history, Snapshot()) == ()
    (notice,) = _claims(history, Snapshot(names=frozenset({"records/a/1"})))
    assert (notice.kind, notice.severity) == (FindingKind.RETURNED_OBJECT, Severity.NOTICE)


def test_what_was_stored_again_by_who_knew_is_claimed_again() -> None:
    """An expiry strikes out what came before it, or beside it, never what a writer that knew of it did later."""
    history = _History()
    history.put(0, [journal_entry.record_put("records/a/1")])
    history.put(1, [journal_entry.expired("records/a/1")])
    assert _claims(history, Snapshot()) == ()

    history.put(2, [journal_entry.record_put("records/a/1")], has_looked=False)
    assert _claims(history, Snapshot()) == ()
    history.put(2, [journal_entry.record_put("records/a/1")])

    assert _kinds(_claims(history, Snapshot())) == [FindingKind.MISSING_OBJECT]


def test_an_expiry_that_is_not_signed_expires_nothing() -> None:
    """Who has the repository's keys and no writer's cannot excuse a deletion in a writer's name."""
    history = _History()
    claim = history.put(0, [journal_entry.record_put("records/a/1")])
    forged = replace(history.put(1, [journal_entry.expired("records/a/1")]), is_signed=False)

    assert _kinds(judge_claims([claim, forged], [claim, forged], Snapshot())) == [FindingKind.MISSING_OBJECT]


def test_two_digests_of_one_backup_are_found() -> None:
    """A writer that claims another digest for a replaced manifest does not make it right."""
    name = "backups/7/x"
    history = _History()
    history.put(0, [journal_entry.backup_made(name, "aa" * 32)])
    history.put(1, [journal_entry.backup_made(name, "bb" * 32)])

    unread = _claims(history, Snapshot(names=frozenset({name})))
    read = _claims(history, Snapshot(names=frozenset({name}), digests={name: "bb" * 32}))

    assert _kinds(unread) == _kinds(read) == [FindingKind.REPLACED_OBJECT]
    assert "aaaa" in read[0].text


def test_keys_that_are_older_than_the_journal_are_found() -> None:
    """A hidden rotation would make writers seal for a passphrase that was shut out."""
    history = _History()
    history.put(0, [journal_entry.key_rotated(3), journal_entry.key_added("keys/1"), journal_entry.key_added("keys/2")])
    history.put(0, [journal_entry.key_removed("keys/1")])
    stored = Snapshot(names=frozenset({"keys/2"}), generation=3)

    assert _claims(history, stored) == ()
    assert _claims(history, replace(stored, generation=None)) == ()
    assert _kinds(_claims(history, replace(stored, generation=2))) == [FindingKind.OLD_KEYS]
    assert _kinds(_claims(history, replace(stored, names=frozenset({"keys/1"})))) == [
        FindingKind.RETURNED_OBJECT,
        FindingKind.MISSING_OBJECT,
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
    history, claimed = _History(), set[int]()
    for is_claim, start, length in steps:
        event = journal_entry.wal_stored if is_claim else journal_entry.wal_expired
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
