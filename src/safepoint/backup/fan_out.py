"""One WAL stream into several repositories at once: what may be acknowledged, and who is let go.

Invariants: what is acknowledged is held by every required repository; an eventual one never holds anything back; the
bytes kept in memory are bounded, for whoever falls behind takes them from a repository that has them, and when all do,
nothing more is received: the server's pg_wal is the queue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from safepoint import errors
from safepoint.backup.lane import Chunk, Due, Follow, Item, Lane, Sink, named
from safepoint.backup.receiver_start import Ground, StartingPoint
from safepoint.backup.receiver_state import LaneState, ReceiverObserver
from safepoint.backup.same_cluster import require_same_cluster
from safepoint.backup.shipping import WalStreamId
from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn
from safepoint.repository import Repository

BACKLOG_SEGMENTS = 4
"""Segments that are taken for a repository before they are in it."""
STUCK_SECONDS = 15.0
"""So long nothing could be received while a required repository waits for what another cannot store."""
_ABANDON_SECONDS = 5.0


class FanOut:
    """Hands a stream to its lanes. Its public methods are for one thread, that of the receiver."""

    def __init__(
        self,
        sinks: Sequence[Sink],
        repositories: Mapping[str, Repository],
        start: StartingPoint,
        *,
        database: str,
        observer: ReceiverObserver,
        loud: ReceiverObserver,
        told: Callable[[], None],
        is_synchronous: bool = False,
    ) -> None:
        self.stream = start.stream
        self.position = start.position
        self.ground: Ground = start.ground
        self._began = start
        self._database = database
        self._observer = observer
        self._changed = threading.Condition()
        self._is_synchronous = is_synchronous
        self._open: list[Chunk] = []
        self._stalled_since: float | None = None
        self._lanes = [
            Lane(
                sink,
                changed=self._changed,
                others=self,
                observer=loud if sink.is_required else observer,
                told=told,
                is_synchronous=is_synchronous,
            )
            for sink in sinks
        ]
        for lane in self._lanes:
            lane.repository = repositories.get(lane.sink.name)
            self._place(lane)

    def _place(self, lane: Lane) -> None:
        """A lane that stands within the first segment to come is live; any other catches up."""
        start, name = self._began, lane.sink.name
        if lane.repository is None or name not in start.standings:
            return
        lane.place = start.standings[name]
        if lane.place is None or start.is_leap:
            lane.begin_at(start.stream, start.position, start.durable if start.is_leap else start.position)
        elif lane.place[0] == start.stream.timeline and lane.place[1] >= start.position:
            lane.begin_at(start.stream, start.position, lane.place[1])

    def start(self) -> None:
        """The lanes run."""
        for lane in self._lanes:
            lane.start()

    @property
    def acknowledged(self) -> Lsn:
        """Every required repository holds what comes before; 0/0 while that is not known of one."""
        return min((lane.durable or Lsn(0) for lane in self._required), default=Lsn(0))

    @property
    def states(self) -> tuple[LaneState, ...]:
        """Where each stands."""
        return tuple(
            LaneState(
                name=lane.sink.name,
                is_required=lane.sink.is_required,
                durable=lane.durable,
                is_catching_up=not lane.is_live,
                is_failing=lane.is_failing,
            )
            for lane in self._lanes
        )

    @property
    def is_failing(self) -> bool:
        """Whether a required repository refuses just now."""
        return any(lane.is_failing for lane in self._required)

    def has_room(self) -> bool:
        """Whether some required lane can take more; those that cannot are then let go."""
        with self._changed:
            self._let_go_of_the_slow()
            has_room = any(lane.is_live and self._backlog(lane) < self._limit for lane in self._required)
        if has_room:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = time.monotonic()
        return has_room

    @property
    def is_stuck(self) -> bool:
        """Nothing moves although a required repository could: it waits for what another has not stored."""
        since = self._stalled_since
        is_long = since is not None and time.monotonic() - since > STUCK_SECONDS
        return is_long and any(not lane.is_live and not lane.is_failing for lane in self._required)

    def wait(self, seconds: float) -> None:
        """Until a lane has made room, or the time is up."""
        with self._changed:
            self._changed.wait(seconds)

    def require_lanes(self) -> None:
        """Raises what a required repository died of; of an eventual one it is told, once."""
        for lane in self._lanes:
            error = lane.error
            if error is None:
                continue
            if lane.sink.is_required:
                raise named(error, lane.sink)
            lane.error = None
            self._observer.troubled(named(error, lane.sink))

    def take(self, start: Lsn, data: bytes | memoryview) -> None:
        """The bytes are on their way; WL002 when they do not follow those before."""
        if start != self.position:
            raise errors.WL002.error(
                f"found WAL from {start}, expected it from {self.position} on timeline {self.stream.timeline}",
                changed="everything before is in the repository or will be asked for again",
            )
        chunk = Chunk(start, data)
        size = self.stream.segment_size
        with self._changed:
            before, self.position = self.position.segment_start(size), start + len(data)
            now = self.position.segment_start(size)
            if now != before:
                self._open.clear()
            self._open.append(chunk)
            self._hand(chunk)
            if now != before or self._is_synchronous:
                self._changed.notify_all()

    def ship(self, mark: Mark | None) -> None:
        """Everything taken is to be stored, with the mark."""
        with self._changed:
            self._hand(Due(mark))
            self._changed.notify_all()

    def follow(self, stream: WalStreamId, position: Lsn, ground: Ground) -> None:
        """The stream goes on with another timeline, from the first byte of a segment on."""
        with self._changed:
            self._hand(Follow(stream, position))
            self.stream, self.position, self.ground = stream, position, ground
            self._open.clear()
            self._changed.notify_all()

    def close(self, stop: threading.Event) -> None:
        """What was taken is stored: in all that are at work, or in one when the others refuse.

        While all refuse they go on trying, until `stop`: then each tries once more, and what is wrong is raised.
        """
        self._end(is_last=stop.is_set())
        since = time.monotonic()
        while any(not lane.is_over for lane in self._lanes):
            if stop.is_set():
                self._end(is_last=True)
            is_safe = any(lane.is_over and lane.error is None and lane.is_live for lane in self._required)
            if is_safe and time.monotonic() - since > _ABANDON_SECONDS:
                self._end(is_last=True)
                break
            self.wait(0.1)
        for lane in self._lanes:
            lane.join(None if lane.is_over else _ABANDON_SECONDS)
        if stop.is_set():
            self.require_lanes()

    def _end(self, *, is_last: bool) -> None:
        with self._changed:
            for lane in self._lanes:
                lane.is_ending, lane.is_last = True, is_last
            self._changed.notify_all()

    @property
    def repositories(self) -> tuple[Repository, ...]:
        """Those that are open."""
        return tuple(lane.repository for lane in self._lanes if lane.repository is not None)

    @property
    def first(self) -> Lsn:
        """As `Others` says."""
        return self._began.position

    def enlist(self, lane: Lane) -> tuple[WalStreamId, Lsn]:
        """As `Others` says; called under the lock."""
        items: list[Item] = list(self._open)
        lane.enlist(items)
        return self.stream, self.position.segment_start(self.stream.segment_size)

    def source_for(self, lane: Lane) -> Repository | None:
        """As `Others` says; called under the lock."""
        able = [
            other
            for other in self._required
            if other is not lane and other.repository is not None and not other.is_over and other.durable is not None
        ]
        best = max(able, key=lambda other: (other.is_live, not other.is_failing, other.durable or Lsn(0)), default=None)
        return None if best is None else best.repository

    def admit(self, repository: Repository) -> None:
        """As `Others` says."""
        require_same_cluster(self.stream.cluster, repository, self._database, errors.WL001)

    @property
    def _required(self) -> list[Lane]:
        return [lane for lane in self._lanes if lane.sink.is_required]

    @property
    def _limit(self) -> int:
        return BACKLOG_SEGMENTS * self.stream.segment_size

    def _hand(self, item: Item) -> None:
        for lane in self._lanes:
            if lane.is_live:
                lane.hand(item)

    def _backlog(self, lane: Lane) -> int:
        """Bytes taken for the lane that are not in its repository."""
        return self.position - max(lane.durable or Lsn(0), self._began.position)

    def _let_go_of_the_slow(self) -> None:
        slow = [lane for lane in self._lanes if lane.is_live and self._backlog(lane) >= self._limit]
        quick = [lane for lane in self._required if lane.is_live and lane not in slow]
        for lane in slow:
            if quick or not lane.sink.is_required:
                lane.let_go()
