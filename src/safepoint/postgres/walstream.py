"""START_REPLICATION: WAL bytes of one timeline as they are flushed, and what we tell the server in return.

Invariant: what is reported as flushed is what the caller said is durable, nothing else; written and applied positions
follow it. Source: PostgreSQL documentation, "Streaming Replication Protocol"; src/bin/pg_basebackup/receivelog.c.
"""

from __future__ import annotations

import select
import struct
import time
from dataclasses import dataclass

import psycopg
from psycopg import pq

from safepoint import errors
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.replication import ReplicationSession, quoted, rows_of

SILENCE_SECONDS = 30.0
"""After so long without a word, although one was asked for, the connection is taken for dead."""

FAREWELL_SECONDS = 5.0
"""How long the server may take to end a stream that we ended."""

_AT_HAND_SECONDS = 0.01
"""How long the rest of a message may take whose first bytes are there."""

_WAL = struct.Struct("!cQQQ")
_KEEPALIVE = struct.Struct("!cQQ?")
_STATUS = struct.Struct("!cQQQQ?")
_EPOCH_SECONDS = 946_684_800  # 2000-01-01 in Unix time


@dataclass(frozen=True, slots=True, kw_only=True)
class WalData:
    """WAL bytes from `start` on; `server_end` is how far the server's WAL reached when it sent them."""

    start: Lsn
    data: memoryview
    server_end: Lsn


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalive:
    """The server is alive and its WAL reaches to `server_end`."""

    server_end: Lsn
    wants_reply: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EndOfStream:
    """The server ended the stream: its timeline ended at `switch` and `next_timeline` follows, or it shuts down."""

    next_timeline: TimelineId | None
    switch: Lsn | None


class WalStream:
    """A running stream; `receive` is called until it returns EndOfStream."""

    def __init__(self, session: ReplicationSession) -> None:
        self._session = session
        self._heard = time.monotonic()
        self._asked = False
        self._ended: EndOfStream | None = None

    def begin(self, *, slot: str | None, timeline: TimelineId, start: Lsn) -> None:
        """The server sends WAL from `start` on, or has said that the timeline ends there."""
        named = f"SLOT {quoted(slot)} " if slot else ""
        self._session.send(f"START_REPLICATION {named}PHYSICAL {start} TIMELINE {timeline}")
        result = self._session.next_result()
        if result is not None and result.status == pq.ExecStatus.COPY_BOTH:
            return
        self._ended = self._read_end(result)

    def receive(self, seconds: float, *, wake: int | None = None) -> WalData | Keepalive | EndOfStream | None:
        """The next message, or None when none came within `seconds`; WL005 when the server fell silent.

        None at once, too, when there is something to read from the descriptor `wake`: somebody has news for the server.
        """
        if self._ended is not None:
            return self._ended
        message = self._session.read_copy(0.0 if wake is not None else seconds)
        if message is None and wake is not None and not self._session.is_copy_over:
            message = self._read_unless_woken(seconds, wake)
        if message is not None:
            self._heard, self._asked = time.monotonic(), False
            return _parse(message)
        if self._session.is_copy_over:
            self._ended = self._end()
            return self._ended
        self._require_life()
        return None

    def _read_unless_woken(self, seconds: float, wake: int) -> memoryview | None:
        try:
            socket = self._session.connection.socket
        except psycopg.OperationalError as error:
            raise self._session.lost() from error
        ready, _, _ = select.select([socket, wake], [], [], seconds)
        return self._session.read_copy(_AT_HAND_SECONDS) if socket in ready else None

    def report(self, durable: Lsn, *, wants_reply: bool = False) -> None:
        """Tells the server that its WAL is durable with us up to `durable`, and no further."""
        now = int((time.time() - _EPOCH_SECONDS) * 1_000_000)
        self._session.write_copy(
            _STATUS.pack(b"r", durable.value, durable.value, durable.value, now, wants_reply),
        )

    def ask_for_life(self, durable: Lsn) -> None:
        """After half the patience has gone in silence, asks the server once for a word."""
        if not self._asked and time.monotonic() - self._heard > SILENCE_SECONDS / 2:
            self._asked = True
            self.report(durable, wants_reply=True)

    def stop(self) -> None:
        """Ends the stream from our side; what the server still had under way is read and dropped.

        One that does not answer is left alone: the session is closed next.
        """
        if self._ended is None:
            self._session.end_copy()
            deadline = time.monotonic() + FAREWELL_SECONDS
            while not self._session.is_copy_over and time.monotonic() < deadline:
                self._session.read_copy(FAREWELL_SECONDS / 5)
            while self._session.is_copy_over and self._session.next_result(FAREWELL_SECONDS) is not None:
                pass

    def _end(self) -> EndOfStream:
        result = self._session.next_result()
        if result is not None and result.status in {pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_BOTH}:
            self._session.end_copy()
            result = self._session.next_result()
        return self._read_end(result)

    def _read_end(self, result: pq.abc.PGresult | None) -> EndOfStream:
        end = EndOfStream(next_timeline=None, switch=None)
        while result is not None:
            if result.status == pq.ExecStatus.TUPLES_OK:
                ((timeline, switch),) = rows_of(result)
                end = EndOfStream(next_timeline=TimelineId(int(str(timeline))), switch=Lsn.parse(str(switch)))
            result = self._session.next_result()
        return end

    def _require_life(self) -> None:
        if time.monotonic() - self._heard > SILENCE_SECONDS:
            raise errors.WL005.error(
                f"found no word from the server for {SILENCE_SECONDS:.0f} s, expected WAL or a keepalive",
                hints=[errors.ask("is the network cut, or the server stopped?")],
            )


def _parse(message: memoryview) -> WalData | Keepalive:
    kind = bytes(message[:1])
    if kind == b"w":
        _, start, server_end, _ = _WAL.unpack_from(message)
        return WalData(start=Lsn(start), data=message[_WAL.size :], server_end=Lsn(server_end))
    if kind == b"k":
        _, server_end, _, wants_reply = _KEEPALIVE.unpack_from(message)
        return Keepalive(server_end=Lsn(server_end), wants_reply=wants_reply)
    raise errors.WL005.error(f"found a replication message of kind {kind!r}, expected w or k")
