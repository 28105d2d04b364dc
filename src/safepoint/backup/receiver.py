"""The WAL receiver: from a replication slot into the repositories, acknowledged when durable in all that are required.

Where it goes on after any interruption is decided by what the repositories hold, never by memory. It follows its
server through restarts and promotions, from one host to another; it never leaves a hole silently.

Source: PostgreSQL documentation, "Streaming Replication Protocol"; src/bin/pg_basebackup/receivelog.c.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from safepoint import errors
from safepoint.backup.candidates import Source, open_source, servers_of
from safepoint.backup.lane import Sink, named
from safepoint.backup.receiver_start import STORE_ERRORS, starting_point
from safepoint.backup.receiver_state import ReceiverObserver, Unobserved
from safepoint.backup.reception import Reception
from safepoint.backup.upkeep import Upkeep
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.connect import require_direct
from safepoint.postgres.replication import slot_name
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository import Repository

DEFAULT_SHIP_SECONDS = 10.0

_NOWHERE = Lsn(0)
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 10.0
_LONGEST_PAUSE_OF_SEVERAL = 1.0
"""With several servers: the next primary is to be followed within seconds."""
_RETRIED = frozenset({errors.WL005, errors.PG004}) | STORE_ERRORS
_RETRIED_WITH_OTHERS = frozenset({errors.WL001, errors.PG010})
"""What an old primary gives, or one that is shutting down, while another server may take its place."""


@dataclass(slots=True, kw_only=True)
class WalReceiver:
    """Receives the WAL of the cluster at `url` until `stop` is set, or of whichever of `replicas` is its primary.

    Into `repository`, if one is given, and `sinks`, of which one at least is required. `reconnect_seconds` bounds how
    long the server may stay away (None: for ever). `accept_gap` allows it, once, to go on where the server still has
    WAL although the repositories lack what came before: a gap that coverage will name. `slot_seconds` is how long a
    slot in use is taken for our own dead connection's. `is_synchronous` ships and reports at once, for a server that
    waits for it. `canary_seconds` is the time between two canary rows (None: none). `slot_limit` bytes of kept WAL and
    the disk below `data`, where it is within reach, bound how long a repository may be away.
    """

    url: DatabaseUrl
    database: str
    repository: Repository | None = None
    sinks: tuple[Sink, ...] = ()
    replicas: tuple[DatabaseUrl, ...] = ()
    stop: threading.Event = field(default_factory=threading.Event)
    slot: str | None = None
    ship_seconds: float = DEFAULT_SHIP_SECONDS
    reconnect_seconds: float | None = None
    accept_gap: bool = False
    observer: ReceiverObserver = field(default_factory=Unobserved)
    cluster: str | None = None
    slot_seconds: float = 15.0
    is_synchronous: bool = False
    canary_seconds: float | None = None
    slot_limit: int | None = None
    data: Path | None = None
    acknowledged: Lsn = field(default=_NOWHERE)
    source: tuple[DatabaseUrl, str, TimelineId] | None = None
    is_overtaken: bool = False
    _opened: dict[str, Repository] = field(default_factory=dict[str, Repository])
    _direct: set[DatabaseUrl] = field(default_factory=set[DatabaseUrl])
    _heard: float = 0.0
    _is_leaping: bool = False

    @property
    def slot_name(self) -> str:
        """The slot's name, which is also what synchronous_standby_names has to name."""
        return self.slot or slot_name(self.database)

    @property
    def servers(self) -> tuple[DatabaseUrl, ...]:
        """Every server that may be the primary."""
        return servers_of((self.url, *self.replicas))

    def run(self) -> None:
        """Returns once `stop` was set and everything received is durable in a required repository at least.

        Raises WL001 (another cluster), WL003 (slot in use), WL004 (WAL is gone from the server), WL005 or PG004 when
        the server stays away longer than allowed, WL006 (a restored copy), ST001 or ST002 when stopped while the store
        refuses.
        """
        if self.repository is not None:
            repository = self.repository
            self.sinks = (Sink(name="", open=lambda: repository), *self.sinks)
            self.repository = None
        pause, self._heard = _FIRST_PAUSE, time.monotonic()
        with Upkeep(self):
            while not self.stop.is_set():
                began = time.monotonic()
                try:
                    self._receive_once()
                except errors.SafepointError as error:
                    if not self._may_retry(error, time.monotonic() - self._heard):
                        raise
                    self.observer.troubled(error)
                else:
                    return
                pause = _FIRST_PAUSE if self._heard > began else min(pause * 2, self._longest_pause)
                self.stop.wait(pause)

    def note_alive(self) -> None:
        """The server answers just now."""
        self._heard = time.monotonic()

    def note_durable(self) -> None:
        """WAL of this connection is in the repositories: where to go on is from now on decided by that."""
        if self._is_leaping:
            self._is_leaping = self.accept_gap = False

    @property
    def _longest_pause(self) -> float:
        return _LONGEST_PAUSE if len(self.servers) == 1 else _LONGEST_PAUSE_OF_SEVERAL

    def _may_retry(self, error: errors.SafepointError, away: float) -> bool:
        if error.spec is errors.WL003:  # the server may not have noticed yet that our last connection died
            return away < self.slot_seconds
        if error.spec is errors.WL004 and self.accept_gap and not self._is_leaping:
            self._is_leaping = True
            return True
        if error.spec is errors.PG004 and len(self.servers) == 1 and not self._direct:
            return False  # an only server that never answered: a wrong address needs somebody, no patience
        is_retried = error.spec in _RETRIED or (len(self.servers) > 1 and error.spec in _RETRIED_WITH_OTHERS)
        return is_retried and (self.reconnect_seconds is None or away < self.reconnect_seconds)

    def _receive_once(self) -> None:
        repositories = self._open_repositories()
        source = open_source(self.servers, self.cluster, self.slot_name)
        try:
            self._require_direct(source)
            start = starting_point(
                source.session,
                repositories,
                database=self.database,
                slot=self.slot_name,
                cluster=self.cluster,
                accept_gap=self._is_leaping,
            )
            self.cluster = start.stream.cluster
            self.is_overtaken = False
            self.source = (source.url, start.stream.cluster, start.ground.timeline)
            Reception(receiver=self, source=source, start=start, repositories=dict(self._opened)).run()
        finally:
            self.source = None
            source.session.close()
            for repository in self._opened.values():
                repository.flush_journal()

    def _require_direct(self, source: Source) -> None:
        """Asked once of each server: a pooler cannot be told from a replication connection."""
        if source.url not in self._direct:
            require_direct(source.url)
            self._direct.add(source.url)

    def _open_repositories(self) -> dict[str, Repository]:
        """The required ones that answer, by name; those that do not are told of. Raises when none does."""
        silence: errors.SafepointError | None = None
        for sink in self.sinks:
            if sink.is_required and sink.name not in self._opened:
                try:
                    self._opened[sink.name] = sink.open()
                except errors.SafepointError as error:
                    if error.spec not in STORE_ERRORS:
                        raise
                    silence = named(error, sink)
                    self.observer.troubled(silence)
        required = {sink.name for sink in self.sinks if sink.is_required}
        found = {name: repository for name, repository in self._opened.items() if name in required}
        if not found and silence is not None:
            raise silence
        return found
