"""The writers' journal: what each writer did, signed and chained, so that an object that vanishes leaves a gap.

    journal/<writer>/<12 digits>    JOURNAL; signed JSON, see journal_entry.py; from 1, without holes, kept for ever

An entry costs one put, the first of a process also a look at the one before; a listing of `journal/` at most once an
hour tells what the other writers have reached, and the entry passes that on, so that a writer's tail cannot be cut
unseen once anybody else has written. Never on the way of a WAL acknowledgement: events are batched, and a journal that
lags behind hides nothing that is stored.

A writer is one machine's. When its chain in the store is not what the machine remembers (its state was copied to
another machine or put back, or the store was), the machine goes on as a new writer, whose first event says so.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from safepoint import errors
from safepoint.model.measures import Clock
from safepoint.repository.commit.journal_entry import NO_ENTRY, Entry, Unreadable, digest_of, read_entry, signed_entry
from safepoint.repository.commit.journal_event import JournalEvent, writer_succeeds
from safepoint.repository.commit.journal_state import JournalState, StateKeeper, Writer
from safepoint.repository.names import JOURNAL_PREFIX, entry_name, place_of
from safepoint.repository.sealing.objects import fetch, open_object, seal_object
from safepoint.repository.sealing.seal import Keyring, Kind
from safepoint.stores.port import Store

_LOOK_AROUND_EVERY = timedelta(hours=1)
_MOST_NEW_WRITERS = 3


class Journal:
    """Appends entries of this machine's writer. May be used from several threads and processes."""

    def __init__(self, store: Store, keyring: Keyring, *, repository: str, clock: Clock, state: Path | None) -> None:
        """`repository` is the id; `state` a directory of its own, None to keep nothing."""
        self._store = store
        self._keyring = keyring
        self._repository = repository
        self._clock = clock
        self._keeper = StateKeeper(state)
        self._heads: dict[str, int] = {}
        self._looked_at: datetime | None = None
        self._sound: Writer | None = None
        self._lock = threading.Lock()

    @property
    def keeper(self) -> StateKeeper:
        """What the audit of this repository on this machine remembers by."""
        return self._keeper

    def append(self, events: Sequence[JournalEvent]) -> str | None:
        """The events are in the journal, durably, in this order; the name of their entry, None when there are none.

        ST001 and its like when the store fails; the events may be journalled or not then, and may be appended again.
        """
        if not events:
            return None
        with self._lock, self._keeper.held() as found:
            state = found.with_seen(self._look_around())
            name, writer = self._put(state, *self._checked(state.writer or Writer.new(), events))
            # Killed here? The next append finds the entry that was pending, and goes on from there.
            self._sound = writer
            self._keeper.save(replace(state, writer=writer).with_seen({writer.id: writer.sequence}))
            return name

    def note(self, events: Sequence[JournalEvent]) -> bool:
        """As `append`, of what is done and durable already; False when the journal could not be written.

        Then the journal claims less than there is, which no audit takes for damage; what was done is done.
        """
        try:
            self.append(events)
        except errors.SafepointError:
            return False
        return True

    def _checked(self, writer: Writer, events: Sequence[JournalEvent]) -> tuple[Writer, Sequence[JournalEvent]]:
        """The writer as it stands in the store, or the one that succeeds it; and the events to put."""
        if writer == self._sound:
            return writer, events
        if writer.pending is not None:
            found = self._entry(writer, writer.sequence + 1)
            if isinstance(found, Entry) and found.digest == writer.pending:
                return _advanced(writer, found.digest, found.heads), events
        if writer.sequence:
            found = self._entry(writer, writer.sequence)
            if found is None or found.digest != writer.digest:
                return _successor(writer, events)
        return writer, events

    def _put(self, state: JournalState, writer: Writer, events: Sequence[JournalEvent]) -> tuple[str, Writer]:
        """Puts the entry; its name, and the writer as it stands afterwards."""
        for _ in range(_MOST_NEW_WRITERS):
            heads = _untold(writer, state.seen)
            name, data = self._draft(writer, heads, events)
            mine = _advanced(writer, digest_of(data), heads)
            self._keeper.save(replace(state, writer=replace(writer, pending=mine.digest)))
            if self._store.put_if_absent(name, data):
                return name, mine
            found = self._entry(writer, mine.sequence)
            if found is not None and found.digest == mine.digest:  # by an earlier attempt of this very put
                return name, mine
            writer, events = _successor(writer, events)
        raise errors.RP007.error(
            f"found {entry_name(writer.id, 1)} taken, expected a random name to be free",
            hints=[errors.ask("does the store answer that objects exist which do not?")],
        )

    def _entry(self, writer: Writer, sequence: int) -> Entry | Unreadable | None:
        return fetch_entry(self._store, self._keyring, self._repository, entry_name(writer.id, sequence))

    def _draft(self, writer: Writer, heads: Mapping[str, int], events: Sequence[JournalEvent]) -> tuple[str, bytes]:
        name = entry_name(writer.id, writer.sequence + 1)
        body = signed_entry(
            writer.key,
            repository=self._repository,
            sequence=writer.sequence + 1,
            previous=writer.digest,
            at=self._clock(),
            events=events,
            heads=heads,
        )
        return name, seal_object(self._keyring, Kind.JOURNAL, name, body)

    def _look_around(self) -> Mapping[str, int]:
        """The heads of all writers, from a listing that is at most an hour old."""
        now = self._clock()
        if self._looked_at is None or abs(now - self._looked_at) >= _LOOK_AROUND_EVERY:
            self._heads = list_heads(self._store)
            self._looked_at = now
        return self._heads


def list_heads(store: Store) -> dict[str, int]:
    """The last sequence of every writer that the store lists."""
    heads: dict[str, int] = {}
    for name in store.list(JOURNAL_PREFIX):
        place = place_of(name)
        if place is not None:
            heads[place[0]] = max(place[1], heads.get(place[0], 0))
    return heads


def fetch_entry(store: Store, keyring: Keyring, repository: str, name: str) -> Entry | Unreadable | None:
    """The entry stored as `name`, which `place_of` accepts; None when there is none."""
    place = place_of(name)
    assert place is not None  # noqa: S101
    writer, sequence = place
    digest = NO_ENTRY
    try:
        data = fetch(store, name, Kind.JOURNAL)
        digest = digest_of(data)
        body = open_object(keyring, Kind.JOURNAL, name, data).body
        return read_entry(body, digest, repository=repository, writer=writer, sequence=sequence)
    except errors.Damaged as error:
        if error.spec is errors.RP004:
            return None
        return Unreadable(writer=writer, sequence=sequence, because=error.message, digest=digest)
    except ValueError as error:
        return Unreadable(writer=writer, sequence=sequence, because=f"{error} ({name})", digest=digest)


def _untold(writer: Writer, seen: Mapping[str, int]) -> dict[str, int]:
    """The heads of others that this writer has not passed on yet."""
    return {
        other: head for other, head in sorted(seen.items()) if other != writer.id and head > writer.told.get(other, 0)
    }


def _advanced(writer: Writer, digest: str, heads: Mapping[str, int]) -> Writer:
    return replace(writer, sequence=writer.sequence + 1, digest=digest, told={**writer.told, **heads}, pending=None)


def _successor(writer: Writer, events: Sequence[JournalEvent]) -> tuple[Writer, Sequence[JournalEvent]]:
    """A new writer for this machine, whose first event says whom it succeeds; nobody, before a first entry."""
    if not writer.sequence:
        return Writer.new(), events
    return Writer.new(), (writer_succeeds(entry_name(writer.id, writer.sequence), writer.digest), *events)
