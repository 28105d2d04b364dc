"""The writers' journal: what each writer did, signed and chained, so that an object that vanishes leaves a gap.

    journal/<writer>/<12 digits>    JOURNAL; signed JSON, see journal_entry.py; from 1, without holes, kept for ever

An entry costs one put; a listing of `journal/` at most once an hour tells what the other writers have reached, and
the entry passes that on, so that a writer's tail cannot be cut unseen once anybody else has written. Never on the
way of a WAL acknowledgement: events are batched, and a journal that lags behind hides nothing that is stored.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from safepoint import errors
from safepoint.model.measures import Clock
from safepoint.repository.commit.journal_entry import (
    JOURNAL_PREFIX,
    Entry,
    JournalEvent,
    Unreadable,
    digest_of,
    entry_name,
    place_of,
    read_entry,
    signed_entry,
)
from safepoint.repository.commit.journal_state import JournalState, StateKeeper, Writer
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
            state, writer = self._known(found.with_seen(self._look_around()))
            name, writer = self._put(writer, state.seen, events)
            # Killed here? The next append finds the sequence taken, by an entry of its own, and goes on from there.
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

    def _known(self, state: JournalState) -> tuple[JournalState, Writer]:
        """The state with a writer, kept before its first entry is put: killed after that, it is found again."""
        if state.writer is not None:
            return state, state.writer
        writer = Writer.new()
        state = replace(state, writer=writer)
        self._keeper.save(state)
        return state, writer

    def _put(self, writer: Writer, seen: Mapping[str, int], events: Sequence[JournalEvent]) -> tuple[str, Writer]:
        """Puts the entry; its name, and the writer as it stands afterwards."""
        for _ in range(_MOST_NEW_WRITERS):
            current: Writer | None = writer
            while current is not None:
                heads = _untold(current, seen)
                name, data = self._draft(current, heads, events)
                mine = _advanced(current, digest_of(data), heads)
                if self._store.put_if_absent(name, data):
                    return name, mine
                current = self._adopt(current, name)
                if current is not None and current.digest == mine.digest:  # by an earlier attempt of this very put
                    return name, mine
            writer = Writer.new()
        raise errors.RP007.error(
            f"found {entry_name(writer.id, 1)} taken, expected a random name to be free",
            hints=[errors.ask("does the store answer that objects exist which do not?")],
        )

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

    def _adopt(self, writer: Writer, name: str) -> Writer | None:
        """The writer after the entry that has its next name; None when that is not one it signed after its last."""
        found = fetch_entry(self._store, self._keyring, self._repository, name)
        if not isinstance(found, Entry) or not found.is_signed or found.previous != writer.digest:
            return None
        return _advanced(writer, found.digest, found.heads)

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
    try:
        data = fetch(store, name, Kind.JOURNAL)
        body = open_object(keyring, Kind.JOURNAL, name, data).body
        return read_entry(body, digest_of(data), repository=repository, writer=writer, sequence=sequence)
    except errors.Damaged as error:
        if error.spec is errors.RP004:
            return None
        return Unreadable(writer=writer, sequence=sequence, because=error.message)
    except ValueError as error:
        return Unreadable(writer=writer, sequence=sequence, because=f"{error} ({name})")


def _untold(writer: Writer, seen: Mapping[str, int]) -> dict[str, int]:
    """The heads of others that this writer has not passed on yet."""
    return {
        other: head for other, head in sorted(seen.items()) if other != writer.id and head > writer.told.get(other, 0)
    }


def _advanced(writer: Writer, digest: str, heads: Mapping[str, int]) -> Writer:
    return replace(writer, sequence=writer.sequence + 1, digest=digest, told={**writer.told, **heads})
