"""Judging a journal: any single deletion or replacement is found, and an honest history never is accused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from journal_histories import WRITERS, WritersHistory, kinds_of
from safepoint.repository.commit.journal_chains import Read, judge_chains, listed_heads, told_heads, whole_heads
from safepoint.repository.commit.journal_entry import Entry, Unreadable
from safepoint.repository.commit.journal_finding import JournalFinding, JournalFindingKind, Severity
from safepoint.repository.commit.journal_state import Head, JournalState

NOTHING = JournalState()


def _judge(entries: Sequence[Read], state: JournalState = NOTHING) -> tuple[JournalFinding, ...]:
    return judge_chains(entries, entries, state)


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """Up to twelve entries of three writers, each of which has or has not looked around."""
    history = WritersHistory()
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
    assert set(kinds_of(found)) <= {JournalFindingKind.ROLLED_BACK, JournalFindingKind.CUT_TAIL}


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
    history = WritersHistory(entries=list(one))
    for entry in other:
        history.put([writer.id for writer in WRITERS].index(entry.writer))
    later = history.entries[len(one) :]

    for shown in (later, later[::2], later[1::2]):
        assert judge_chains(one, [*one, *shown], NOTHING) == ()


def test_entries_missed_by_the_first_listing_are_read_by_the_second() -> None:
    """A listing may lack an entry that is put meanwhile and show the next: the second listing has both."""
    history = WritersHistory()
    one, two, three = (history.put(0) for _ in range(3))

    assert judge_chains([one, three], [one, two, three], NOTHING) == ()


def test_a_listing_that_was_overtaken_accuses_nobody() -> None:
    """The first listing passed a writer, which then wrote, and another told of it before the listing came there."""
    history = WritersHistory()
    one, two, other = history.put(0), history.put(0), history.put(1)

    assert judge_chains([one, other], [one, two, other], NOTHING) == ()
    assert kinds_of(judge_chains([one, other], [one, other], NOTHING)) == [JournalFindingKind.CUT_TAIL]


def test_a_first_entry_that_follows_another_is_found() -> None:
    """Nothing comes before entry 1."""
    entry = replace(WritersHistory().put(0), previous="ab" * 32)

    (finding,) = _judge([entry])

    assert finding.kind is JournalFindingKind.BROKEN_CHAIN
    assert "no entry" in finding.text


def test_a_missing_first_entry_is_found() -> None:
    """The chain begins with entry 1, by which it is named."""
    history = WritersHistory()
    history.put(0)
    second = history.put(0)

    (finding,) = _judge([second])

    assert finding.kind is JournalFindingKind.MISSING_LINK
    assert "entry 2" in finding.text
    assert "entry 1" in finding.text


def test_a_writer_that_is_wholly_gone_is_found() -> None:
    """Another writer has named it."""
    history = WritersHistory()
    history.put(0)
    history.put(0)
    last = history.put(1)

    (finding,) = _judge([last])

    assert finding.kind is JournalFindingKind.CUT_TAIL
    assert "entries 1 to 2" in finding.text


def test_a_head_told_without_a_signature_counts_nothing() -> None:
    """Who cannot sign cannot accuse."""
    history = WritersHistory()
    history.put(0)
    liar = replace(history.put(1), heads={WRITERS[0].id: 99}, is_signed=False)

    assert kinds_of(_judge([history.entries[0], liar])) == [JournalFindingKind.WRONG_SIGNATURE]


def test_a_huge_gap_is_told_in_few_names() -> None:
    """A name may claim any sequence; the finding lists the first names only."""
    entry = Unreadable(writer=WRITERS[0].id, sequence=999_999_999_999, because="found rubbish")

    findings = _judge([entry])

    assert kinds_of(findings) == [JournalFindingKind.UNREADABLE_ENTRY, JournalFindingKind.MISSING_LINK]
    assert len(findings[1].objects) == 20


def test_only_whole_chains_are_remembered_as_verified() -> None:
    """What was accused is not taken for the truth the next time."""
    history = WritersHistory()
    one, two = history.put(0), history.put(0)
    other = history.put(1, has_looked=False)

    assert whole_heads([two, other], [two, other], NOTHING) == {other.writer: Head(sequence=1, digest=other.digest)}
    assert whole_heads([one, two], [one, two], NOTHING) == {two.writer: Head(sequence=2, digest=two.digest)}
