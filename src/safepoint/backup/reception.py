"""One connection's life: WAL from a server to the lanes, and from them to the server how far it is acknowledged."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safepoint import errors
from safepoint.backup.candidates import Source, where
from safepoint.backup.fan_out import FanOut
from safepoint.backup.marks import MarkSource
from safepoint.backup.pressure import Pressure, Rate
from safepoint.backup.receiver_start import Ground, StartingPoint
from safepoint.backup.receiver_state import ReceiverObserver, ReceiverState
from safepoint.backup.shipping import WalStreamId
from safepoint.model.coverage import Mark
from safepoint.model.history import parse_history
from safepoint.model.lsn import Lsn
from safepoint.postgres.walstream import EndOfStream, Keepalive, WalData, WalStream
from safepoint.repository import Repository

if TYPE_CHECKING:
    from safepoint.backup.receiver import WalReceiver

STATUS_SECONDS = 5.0
"""How often the server hears from us at least; its wal_sender_timeout is 60 s by default."""

_POLL_SECONDS = 0.1
_TELL_SECONDS = 0.2
"""How often the server hears of progress, unless it waits for it."""

_UNITS = {"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


class Reception:
    """Over as many timelines as the server goes through. One thread; the lanes have their own."""

    def __init__(
        self, *, receiver: WalReceiver, source: Source, start: StartingPoint, repositories: Mapping[str, Repository]
    ) -> None:
        self._receiver = receiver
        self._url = source.url
        self._session = source.session
        self._marks = MarkSource(source.url)
        self._slot = start.slot
        self._wake = _Wake()
        self._rate = Rate()
        self._limit = _keep_size(source)
        self._fan = FanOut(
            receiver.sinks,
            repositories,
            start,
            database=receiver.database,
            observer=receiver.observer,
            loud=_Loud(receiver.observer, self._pressure),
            told=self._wake.ring,
            is_synchronous=receiver.is_synchronous,
        )
        self._server_end = self._began_at = start.durable
        self._stream = WalStream(source.session)
        self._mark: Mark | None = None
        self._next_status = self._last_tell = 0.0
        self._next_ship = time.monotonic()  # the first mark, too, may wait until the WAL it speaks of has arrived
        self._told_of = Lsn(0)

    def run(self) -> None:
        """Until `stop` is set. However it ends, what was received is stored before, as far as any store takes it."""
        try:
            self._begin()
            self._fan.start()
            try:
                while not self._receiver.stop.is_set():
                    self._turn()
            finally:
                # The server may be gone for ever: what it sent last is worth most.
                self._fan.close(self._receiver.stop)
            self._tell()
            self._stream.stop()
        finally:
            self._receiver.acknowledged = max(self._receiver.acknowledged, self._fan.acknowledged)
            self._marks.close()
            self._wake.close()

    def _begin(self) -> None:
        stream, position = self._fan.stream, self._fan.position
        self._stream = WalStream(self._session)
        try:
            self._stream.begin(slot=self._slot, timeline=stream.timeline, start=position)
        except errors.SafepointError as error:
            raise _explained(error, self._slot, position) from error
        self._tell()

    def _turn(self) -> None:
        """Takes what came, has shipped what is due, answers the server."""
        self._fan.require_lanes()
        self._require_lead()
        message = self._receive()
        if isinstance(message, WalData):
            self._server_end = message.server_end
            self._fan.take(message.start, message.data)
        elif isinstance(message, Keepalive):
            self._server_end = message.server_end
            if message.wants_reply:
                self._next_status = 0.0
        elif isinstance(message, EndOfStream):
            self._follow(message)
        if self._is_ship_due():
            is_reached = self._mark is not None and self._mark.lsn <= self._fan.position
            self._fan.ship(self._mark if is_reached else None)
            self._mark = None if is_reached else self._mark
            self._next_ship = time.monotonic() + self._receiver.ship_seconds
        if self._is_tell_due():
            self._tell()

    def _receive(self) -> WalData | Keepalive | EndOfStream | None:
        if not self._fan.has_room():
            self._fan.wait(_POLL_SECONDS)
            return None
        try:
            message = self._stream.receive(_POLL_SECONDS, wake=self._wake.descriptor)
        except errors.SafepointError as error:
            raise _explained(error, self._slot, self._fan.position) from error
        if message is None:
            self._wake.calm()
            self._stream.ask_for_life(self._fan.acknowledged)
        return message

    def _is_ship_due(self) -> bool:
        """Asks for a mark when its time has come, and waits a little until the WAL it speaks of has arrived."""
        now = time.monotonic()
        if now < self._next_ship:
            return False
        if self._mark is None:
            self._mark = self._marks.fetch()
        is_patience_over = now >= self._next_ship + self._receiver.ship_seconds
        return self._mark is None or self._mark.lsn <= self._fan.position or is_patience_over

    def _is_tell_due(self) -> bool:
        now = time.monotonic()
        is_news = self._fan.acknowledged > self._told_of
        return now >= self._next_status or (
            is_news and (self._receiver.is_synchronous or now - self._last_tell >= _TELL_SECONDS)
        )

    def _tell(self) -> None:
        """The server and the observer know how far WAL is durable."""
        acknowledged = self._fan.acknowledged
        self._stream.report(acknowledged)
        self._told_of = acknowledged
        self._last_tell = time.monotonic()
        self._next_status = self._last_tell + STATUS_SECONDS
        self._rate.note(self._last_tell, self._server_end.value)
        receiver = self._receiver
        receiver.note_alive()
        receiver.acknowledged = max(receiver.acknowledged, acknowledged)
        if acknowledged > self._began_at:
            receiver.note_durable()
        receiver.observer.progressed(
            ReceiverState(
                cluster=self._fan.stream.cluster,
                timeline=self._fan.stream.timeline,
                received=self._fan.position,
                durable=acknowledged,
                server_end=max(self._server_end, self._fan.position),
                mark=self._marks.newest,
                lanes=self._fan.states,
                server=where(self._url),
            )
        )

    def _follow(self, end: EndOfStream) -> None:
        """Goes on with the timeline that follows; its first segment repeats the old one's bytes before the switch."""
        if end.next_timeline is None or end.switch is None:
            raise errors.WL005.error(
                "found that the server ended the stream, expected it to go on",
                hints=[errors.ask("is the server shutting down or restarting?")],
            )
        old, ground = self._fan.stream, self._fan.ground
        history = self._session.fetch_history(end.next_timeline)
        stream = WalStreamId(
            cluster=old.cluster, timeline=end.next_timeline, history=history, segment_size=old.segment_size
        )
        ground = Ground(
            cluster=old.cluster,
            timeline=max(end.next_timeline, ground.timeline),
            ancestors=ground.ancestors if ground.timeline > end.next_timeline else parse_history(history),
            slot=ground.slot,
        )
        self._fan.follow(stream, end.switch.segment_start(old.segment_size), ground)
        self._receiver.source = (self._url, old.cluster, ground.timeline)
        self._begin()

    def _require_lead(self) -> None:
        """Raises WL005 when it is better to begin anew: with another server, or from where another repository is."""
        if self._receiver.is_overtaken:
            raise errors.WL005.error(
                f"found another server promoted beyond timeline {self._fan.stream.timeline}, expected none",
                hints=[errors.ask("is the old primary still running? it must not take writes any more: stop it")],
            )
        if self._fan.is_stuck:
            raise errors.WL005.error(
                "found a required repository waiting for WAL that another cannot store, expected both to go on",
                hints=[errors.ask("is the store of one of them full, or out of reach?")],
            )

    def _pressure(self) -> Pressure:
        """How long the server can go on keeping WAL for us."""
        kept = self._server_end - self._fan.acknowledged if self._fan.acknowledged > Lsn(0) else 0
        limits = [(self._limit, "max_slot_wal_keep_size"), (self._receiver.slot_limit, "slot_limit")]
        free = _free_below(self._receiver.data)
        limits.append((None if free is None else kept + free, "the server's disk"))
        known = [(limit, name) for limit, name in limits if limit is not None]
        limit, name = min(known, default=(None, ""))
        return Pressure(kept=kept, rate=self._rate.bytes_per_second, limit=limit, limit_name=name)


@dataclass(frozen=True, slots=True)
class _Loud:
    """Tells of a required repository's trouble with what it does to the server."""

    inner: ReceiverObserver
    pressure: Callable[[], Pressure]

    def progressed(self, state: ReceiverState) -> None:
        """Passed on."""
        self.inner.progressed(state)

    def troubled(self, error: errors.SafepointError) -> None:
        """With how much WAL waits, and how long there is room for it."""
        self.inner.troubled(
            error.spec.error(
                f"{error.message}; nothing more is acknowledged to the server",
                changed=f"meanwhile {self.pressure()}",
                hints=list(error.hints),
            )
        )


class _Wake:
    """A pipe by which the lanes' threads wake the one that waits for the server."""

    def __init__(self) -> None:
        self.descriptor, self._write = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._write, False)
        self._lock = threading.Lock()
        self._is_open = True

    def ring(self) -> None:
        """Whoever waits stops waiting."""
        with self._lock:
            if self._is_open:
                try:
                    os.write(self._write, b"!")
                except BlockingIOError:  # it has not listened for long: it will
                    return

    def calm(self) -> None:
        """All rings so far are heard."""
        try:
            while os.read(self.descriptor, 4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Nobody rings any more."""
        with self._lock:
            self._is_open = False
            os.close(self.descriptor)
            os.close(self._write)


def _keep_size(source: Source) -> int | None:
    """max_slot_wal_keep_size in bytes; None when the server sets no limit, or does not say."""
    try:
        text = source.session.show("max_slot_wal_keep_size")
    except errors.SafepointError as error:
        if error.spec in {errors.PG004, errors.WL005}:
            raise
        return None
    number, unit = text.rstrip("kMGTB"), text.lstrip("-0123456789")
    return None if number.startswith("-") or unit not in _UNITS else int(number) * _UNITS[unit]


def _free_below(data: Path | None) -> int | None:
    """Bytes free where pg_wal is, when that is within reach."""
    if data is None:
        return None
    try:
        return shutil.disk_usage(data / "pg_wal").free
    except OSError:
        return None


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
