"""The WAL without which a backup's files are none: waited for where a receiver brings it, fetched where none does.

A server that ended a backup as a primary has switched to the next segment: then whole segments are stored. A standby
has not: then the open segment is stored as far as it goes, and nobody need wait for a busy hour.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from safepoint import errors
from safepoint.backup.durable import durable_up_to
from safepoint.backup.shipping import WalShipper, WalStreamId
from safepoint.model.lsn import Lsn
from safepoint.postgres.replication import ReplicationSession
from safepoint.postgres.walstream import EndOfStream, WalData, WalStream
from safepoint.repository import Repository

RECEIVER_PATIENCE_SECONDS = 30.0
"""How long a running receiver may make no headway before the WAL is fetched by the backup itself."""

SWITCH_PATIENCE_SECONDS = 5.0
"""How long a segment that is complete up to the backup's end may take to be closed, before it is stored open."""

SILENCE_SECONDS = 300.0
"""How long the server may send nothing at all of the WAL that it must have."""

_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededWal:
    """WAL [start, stop) of one timeline; `is_closed`: the server switches to the next segment behind it."""

    stream: WalStreamId
    start: Lsn
    stop: Lsn
    is_closed: bool


def bring_wal(
    repository: Repository,
    needed: NeededWal,
    session: ReplicationSession,
    is_receiver_at_work: Callable[[], bool],
    tell: Callable[[int], None],
) -> Lsn:
    """How far the WAL is durable now, at least `stop`; BK001 when it does not come. `tell` is told bytes."""
    durable = _wait_for_receiver(repository, needed, is_receiver_at_work, tell)
    if durable < needed.stop:
        _fetch(repository, needed, session, tell)
        durable = _durable(repository, needed)
    if durable < needed.stop:
        raise errors.BK001.error(
            f"found WAL in the repository from {needed.start} up to {durable}, expected it up to {needed.stop}",
            changed="no backup was made",
            hints=[errors.ask("was the server promoted, or stopped, meanwhile?")],
        )
    return durable


def _durable(repository: Repository, needed: NeededWal) -> Lsn:
    return durable_up_to(repository, needed.stream.cluster, needed.stream.timeline, needed.start)


def _wait_for_receiver(
    repository: Repository, needed: NeededWal, is_at_work: Callable[[], bool], tell: Callable[[int], None]
) -> Lsn:
    """How far the receiver has brought the WAL once it has all, makes no headway any more, or does not run."""
    durable, moved_at = _durable(repository, needed), time.monotonic()
    while durable < needed.stop and is_at_work():
        if time.monotonic() - moved_at > RECEIVER_PATIENCE_SECONDS:
            break
        time.sleep(_POLL_SECONDS)
        now_durable = _durable(repository, needed)
        moved_at = time.monotonic() if now_durable > durable else moved_at
        durable = now_durable
        tell(durable - needed.start)
    return durable


def _fetch(repository: Repository, needed: NeededWal, session: ReplicationSession, tell: Callable[[int], None]) -> None:
    position = needed.start.segment_start(needed.stream.segment_size)
    shipper = WalShipper(
        repository=repository, stream=needed.stream, position=position, durable=position, keeps_ranges=True
    )
    wal = WalStream(session)
    wal.begin(slot=None, timeline=needed.stream.timeline, start=position)
    heard_at = time.monotonic()
    while shipper.durable < needed.stop:
        message = wal.receive(_POLL_SECONDS)
        if isinstance(message, WalData):
            shipper.take(message.start, message.data)
            heard_at = time.monotonic()
        if shipper.has_whole_segments:
            shipper.ship_whole()
            wal.report(shipper.durable)
            tell(min(shipper.durable, needed.stop) - needed.start)
        if isinstance(message, EndOfStream) or _is_enough(needed, shipper, time.monotonic() - heard_at):
            shipper.ship_open()
            break
        wal.ask_for_life(shipper.durable)
    wal.stop()


def _is_enough(needed: NeededWal, shipper: WalShipper, silent_seconds: float) -> bool:
    """Whether the open segment is to be stored as it is: all is there, and nobody closes it; or nothing comes."""
    if shipper.position < needed.stop:
        return silent_seconds > SILENCE_SECONDS
    return not needed.is_closed or silent_seconds > SWITCH_PATIENCE_SECONDS
