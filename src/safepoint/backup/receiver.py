"""The WAL receiver: from a replication slot into the repository, acknowledged when durable there and not before.

Where it goes on after any interruption is decided by what the repository holds, never by memory. It follows its
server through restarts and promotions; it never leaves a hole silently.

Source: PostgreSQL documentation, "Streaming Replication Protocol"; src/bin/pg_basebackup/receivelog.c.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from safepoint import errors
from safepoint.backup.marks import MarkSource
from safepoint.backup.receiver_start import StartingPoint, starting_point
from safepoint.backup.receiver_state import ReceiverObserver, ReceiverState, Unobserved
from safepoint.backup.shipping import WalShipper, WalStreamId
from safepoint.model.lsn import Lsn
from safepoint.postgres.connect import replication_connection, require_direct
from safepoint.postgres.replication import ReplicationSession, slot_name
from safepoint.postgres.url import DatabaseUrl
from safepoint.postgres.walstream import EndOfStream, Keepalive, WalData, WalStream
from safepoint.repository import Repository

DEFAULT_SHIP_SECONDS = 10.0
STATUS_SECONDS = 5.0
"""How often the server hears from us at least; its wal_sender_timeout is 60 s by default."""

_POLL_SECONDS = 0.1
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 10.0
_STORE_ERRORS = frozenset({errors.ST001, errors.ST002})
_FROM_THE_SERVER = frozenset({errors.WL003, errors.WL004, errors.WL005, errors.PG004, errors.PG007, errors.PG010})
_RETRIED = frozenset({errors.WL005, errors.PG004})


@dataclass(slots=True, kw_only=True)
class WalReceiver:
    """Receives the WAL of the cluster at `url` until `stop` is set.

    `reconnect_seconds` bounds how long the server may stay away (None: for ever). `accept_gap` allows it, once, to go
    on where the server still has WAL although the repository lacks what came before: a gap that coverage will name.
    `slot_seconds` is how long a slot in use is taken for our own dead connection's.
    """

    url: DatabaseUrl
    repository: Repository
    database: str
    stop: threading.Event = field(default_factory=threading.Event)
    slot: str | None = None
    ship_seconds: float = DEFAULT_SHIP_SECONDS
    reconnect_seconds: float | None = None
    accept_gap: bool = False
    observer: ReceiverObserver = field(default_factory=Unobserved)
    cluster: str | None = None
    slot_seconds: float = 15.0
    _heard: float = 0.0
    _is_leaping: bool = False

    def run(self) -> None:
        """Returns once `stop` was set and everything received is durable.

        Raises WL001 (another cluster), WL003 (slot in use), WL004 (WAL is gone from the server), WL005 or PG004 when
        the server stays away longer than allowed, ST001 or ST002 when stopped while the store refuses.
        """
        require_direct(self.url)
        pause, self._heard = _FIRST_PAUSE, time.monotonic()
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
            pause = _FIRST_PAUSE if self._heard > began else min(pause * 2, _LONGEST_PAUSE)
            self.stop.wait(pause)

    def note_alive(self) -> None:
        """The server answers just now."""
        self._heard = time.monotonic()

    def note_durable(self) -> None:
        """WAL of this connection is in the repository: where to go on is from now on decided by that."""
        if self._is_leaping:
            self._is_leaping = self.accept_gap = False

    def _may_retry(self, error: errors.SafepointError, away: float) -> bool:
        if error.spec is errors.WL003:  # the server may not have noticed yet that our last connection died
            return away < self.slot_seconds
        if error.spec is errors.WL004 and self.accept_gap and not self._is_leaping:
            self._is_leaping = True
            return True
        return error.spec in _RETRIED and (self.reconnect_seconds is None or away < self.reconnect_seconds)

    def _receive_once(self) -> None:
        session = ReplicationSession(replication_connection(self.url))
        marks = MarkSource(self.url)
        try:
            start = starting_point(
                session,
                self.repository,
                database=self.database,
                slot=self.slot or slot_name(self.database),
                cluster=self.cluster,
                accept_gap=self._is_leaping,
            )
            self.cluster = start.stream.cluster
            _Reception(receiver=self, session=session, marks=marks, start=start).run()
        finally:
            marks.close()
            session.close()
            self.repository.flush_journal()


class _Reception:
    """One connection's life, over as many timelines as the server goes through."""

    def __init__(
        self, *, receiver: WalReceiver, session: ReplicationSession, marks: MarkSource, start: StartingPoint
    ) -> None:
        self._receiver = receiver
        self._session = session
        self._marks = marks
        self._slot = start.slot
        self._shipper = _shipper(receiver.repository, start.stream, start.position, start.durable)
        self._server_end = self._began_at = start.durable
        self._stream = WalStream(session)
        self._next_ship = 0.0
        self._next_status = 0.0

    def run(self) -> None:
        """Until `stop` is set; Ctrl-C ships what was received before it goes on."""
        self._begin()
        try:
            while not self._receiver.stop.is_set():
                self._turn()
        except KeyboardInterrupt:
            self._ship(is_last=True)
            raise
        except errors.SafepointError as error:
            if error.spec in _FROM_THE_SERVER:  # it may be gone for ever: what it sent last is worth most
                self._ship(is_connected=False)
            raise
        self._ship(is_last=True)
        self._stream.report(self._shipper.durable)
        self._stream.stop()

    def _begin(self) -> None:
        stream, position = self._shipper.stream, self._shipper.position
        self._stream = WalStream(self._session)
        try:
            self._stream.begin(slot=self._slot, timeline=stream.timeline, start=position)
        except errors.SafepointError as error:
            raise _explained(error, self._slot, position) from error
        self._tell()

    def _turn(self) -> None:
        """Takes what came, ships what is due, answers the server."""
        message = self._receive()
        if isinstance(message, WalData):
            self._server_end = message.server_end
            self._shipper.take(message.start, message.data)
        elif isinstance(message, Keepalive):
            self._server_end = message.server_end
            if message.wants_reply:
                self._next_status = 0.0
        elif isinstance(message, EndOfStream):
            self._follow(message)
        if self._shipper.has_whole_segments or self._is_ship_due():
            self._ship()
            self._next_status = 0.0
        if time.monotonic() >= self._next_status:
            self._tell()

    def _receive(self) -> WalData | Keepalive | EndOfStream | None:
        try:
            message = self._stream.receive(_POLL_SECONDS)
        except errors.SafepointError as error:
            raise _explained(error, self._slot, self._shipper.position) from error
        if message is None:
            self._stream.ask_for_life(self._shipper.durable)
        return message

    def _is_ship_due(self) -> bool:
        """Asks for a mark when its time has come, and waits a little until the WAL it speaks of has arrived."""
        now = time.monotonic()
        if now < self._next_ship:
            return False
        if self._shipper.mark is None:
            self._shipper.mark = self._marks.fetch()
        mark = self._shipper.mark
        is_patience_over = now >= self._next_ship + self._receiver.ship_seconds
        return mark is None or mark.lsn <= self._shipper.position or is_patience_over

    def _ship(self, *, is_last: bool = False, is_connected: bool = True) -> None:
        """Everything due is durable. While the store refuses, the server is told that nothing more is."""
        pause = _FIRST_PAUSE
        is_due = not self._shipper.has_whole_segments or time.monotonic() >= self._next_ship
        is_full = is_last or is_due or not is_connected
        while True:
            try:
                if is_full:
                    self._shipper.ship_open()
                    self._next_ship = time.monotonic() + self._receiver.ship_seconds
                else:
                    self._shipper.ship_whole()
            except errors.SafepointError as error:
                if error.spec not in _STORE_ERRORS or is_last:
                    raise
                self._receiver.observer.troubled(error)
            else:
                return
            if is_connected:
                self._tell()
            is_last = self._receiver.stop.wait(pause)
            pause = min(pause * 2, STATUS_SECONDS)

    def _tell(self) -> None:
        """The server and the observer know how far WAL is durable."""
        self._stream.report(self._shipper.durable)
        self._next_status = time.monotonic() + STATUS_SECONDS
        self._receiver.note_alive()
        if self._shipper.durable > self._began_at:
            self._receiver.note_durable()
        self._receiver.observer.progressed(
            ReceiverState(
                cluster=self._shipper.stream.cluster,
                timeline=self._shipper.stream.timeline,
                received=self._shipper.position,
                durable=self._shipper.durable,
                server_end=max(self._server_end, self._shipper.position),
                mark=self._marks.newest,
            )
        )

    def _follow(self, end: EndOfStream) -> None:
        """Goes on with the timeline that follows; its first segment repeats the old one's bytes before the switch."""
        self._ship()
        if end.next_timeline is None or end.switch is None:
            raise errors.WL005.error(
                "found that the server ended the stream, expected it to go on",
                hints=[errors.ask("is the server shutting down or restarting?")],
            )
        old = self._shipper.stream
        history = self._session.fetch_history(end.next_timeline)
        self._receiver.repository.put_history(old.cluster, end.next_timeline, history)
        stream = WalStreamId(
            cluster=old.cluster, timeline=end.next_timeline, history=history, segment_size=old.segment_size
        )
        position = end.switch.segment_start(old.segment_size)
        self._shipper = _shipper(self._receiver.repository, stream, position, position)
        self._begin()


def _shipper(repository: Repository, stream: WalStreamId, position: Lsn, durable: Lsn) -> WalShipper:
    return WalShipper(repository=repository, stream=stream, position=position, durable=durable)


def _explained(error: errors.SafepointError, slot: str, needed: Lsn) -> errors.SafepointError:
    """The server's refusals to send what is needed, with both positions and the way out."""
    if error.spec not in {errors.WL004, errors.PG010}:
        return error
    return errors.WL004.error(
        f"found WAL from {needed} on gone from the server, expected slot {slot} to have kept it ({error.message})",
        changed="nothing was changed; WAL up to that position is in the repository",
        hints=[
            errors.ask(f"was the slot {slot} dropped, or did it exceed max_slot_wal_keep_size?"),
            errors.run("go on with a gap: `safepoint wal stream --accept-gap`, and take a new backup at once"),
        ],
    )
