"""Entries of a journal: their spelling is one, and what differs in a letter is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal_histories import NOON, REPOSITORY, WRITERS, WritersHistory, kinds_of, read_entry
from safepoint.model.lsn import Lsn
from safepoint.repository.commit import journal_entry, journal_event
from safepoint.repository.commit.journal_claims import Snapshot, judge_claims
from safepoint.repository.commit.journal_finding import JournalFindingKind
from safepoint.repository.commit.journal_state import Writer
from safepoint.repository.sealing.checked_json import canonical


def test_a_writer_is_named_for_its_key() -> None:
    """Another key under a writer's name, its signature sound, is not that writer."""
    forger = Writer.new()
    body = journal_entry.signed_entry(
        forger.key, repository=REPOSITORY, sequence=1, previous="", at=NOON, events=(), heads={}
    )
    value = {**json.loads(body), "writer": WRITERS[0].id}
    del value["signature"]
    signature = forger.key.sign(b"safepoint journal 1\n" + canonical(value)).hex()

    entry = read_entry(canonical({**value, "signature": signature}), WRITERS[0].id, 1)

    assert not entry.is_signed
    assert read_entry(body, forger.id, 1).is_signed


@pytest.mark.parametrize(
    "field", ["repository", "sequence", "previous", "at", "events", "heads", "key", "signature", "writer"]
)
def test_an_entry_without_a_field_is_none(field: str) -> None:
    """ValueError, which says what is missing."""
    value = json.loads(_body())
    del value[field]

    with pytest.raises(ValueError, match="expected"):
        read_entry(canonical(value), WRITERS[0].id, 1)


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
        read_entry(canonical(value), WRITERS[0].id, 1)


@pytest.mark.parametrize("body", [b"", b"[]", b"[[1,2]]", b"7", b"null", b'{"b":1, "a":2}', b"\xff"])
def test_other_bytes_are_no_entry(body: bytes) -> None:
    """Only the one spelling is read: what is signed is what is there."""
    with pytest.raises(ValueError, match=r"."):
        read_entry(body, WRITERS[0].id, 1)


def test_another_spelling_is_no_entry() -> None:
    """The same fields with a blank more would open, and be signed; the chain must not depend on who spells."""
    with pytest.raises(ValueError, match="another spelling"):
        read_entry(json.dumps(json.loads(_body()), sort_keys=True).encode(), WRITERS[0].id, 1)


@given(st.data())
def test_any_changed_letter_is_found(data: st.DataObject) -> None:
    """No byte of an entry is outside its signature."""
    body = bytearray(_body())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] = data.draw(st.integers(32, 126).filter(lambda letter: letter != body[at]))

    try:
        entry = read_entry(bytes(body), WRITERS[0].id, 1)
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
        events=[journal_event.backup_made("backups/7/x", "ab" * 32), journal_event.packs_collected(3)],
        heads={WRITERS[1].id: 4},
    )


def test_events_survive_their_spelling() -> None:
    """Every kind reads back as it was written, and an unknown kind of a later version does not hide the others."""
    events = (
        journal_event.backup_made("backups/7/x", "ab" * 32),
        journal_event.expired("backups/7/x"),
        journal_event.wal_stored("7", "00000001-" + "ab" * 16, Lsn(0), Lsn(1 << 24)),
        journal_event.wal_expired("7", "00000001-" + "ab" * 16, Lsn(0), Lsn(1 << 24)),
        journal_event.record_put("records/drill/1"),
        journal_event.index_put("indexes/1"),
        journal_event.key_added("keys/1"),
        journal_event.key_removed("keys/1"),
        journal_event.key_rotated(2),
        journal_event.packs_collected(0),
    )
    entry = WritersHistory().put(0, events)
    value = json.loads(_body())
    value["events"] = [{"event": "moved"}, {"event": "index", "name": "indexes/1"}]

    later = read_entry(canonical(value), WRITERS[0].id, 1)

    assert entry.events == events
    assert later.events == (journal_event.index_put("indexes/1"),)
    assert kinds_of(judge_claims([later], [later], Snapshot(names=frozenset({"indexes/1"})))) == [
        JournalFindingKind.UNKNOWN_EVENT
    ]
