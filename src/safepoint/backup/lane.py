"""One repository's share of a WAL stream: a thread that puts what it is handed, or first catches up with the others.

Invariants: `durable` only ever names what this repository holds without a hole; nothing is handed over out of order. A
lane that cannot keep up is let go and takes what it missed from a repository that has it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from safepoint import errors
from safepoint.backup.clock_steps import StepWatch
from safepoint.backup.receiver_start import STORE_ERRORS, Ground, require_followed, standing
from safepoint.backup.receiver_state import ReceiverObserver
from safepoint.backup.refill import Place, refill
from safepoint.backup.shipping import WalShipper, WalStreamId
from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.repository import Repository

_T = TypeVar("_T")
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
FOLLOWED_SECONDS = 60.0
"""How long a lane stores on before it looks again whether production was taken elsewhere by an adoption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """A repository that takes WAL, by its name in the strategy. `open` may raise as opening a repository does."""

    name: str
    open: Callable[[], Repository]
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class Chunk:
    """WAL bytes from `start` on."""

    start: Lsn
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Due:
    """Everything handed over before is to be shipped, with the mark if there is one."""

    mark: Mark | None


@dataclass(frozen=True, slots=True)
class Follow:
    """The timeline goes on as another one: from `position`, the first byte of a segment."""

    stream: WalStreamId
    position: Lsn


Item = Chunk | Due | Follow


class Others(Protocol):
    """What a lane needs of those beside it."""

    def enlist(self, lane: Lane) -> tuple[WalStreamId, Lsn]:
        """From now on the lane is handed everything from that position on, the open segment's first byte."""
        ...

    def admit(self, repository: Repository) -> None:
        """Raises WL001 for a repository that holds another cluster under the database's name."""
        ...

    def source_for(self, lane: Lane) -> Repository | None:
        """A required repository that is further than this lane, and at work."""
        ...

    @property
    def ground(self) -> Ground:
        """What decides where a repository stands."""
        ...

    @property
    def first(self) -> Lsn:
        """Where this stream began: what comes before is in another repository, or in none."""
        ...


class Lane:
    """The thread of one repository. All but `start` and `run` may be called from any thread, under `changed`."""

    def __init__(
        self,
        sink: Sink,
        *,
        changed: threading.Condition,
        others: Others,
        observer: ReceiverObserver,
        told: Callable[[], None],
        is_synchronous: bool,
    ) -> None:
        self.sink = sink
        self.repository: Repository | None = None
        self.place: Place | None = None
        self.is_live = self.is_ending = self.is_last = self.is_over = self.is_failing = False
        self.error: errors.SafepointError | None = None
        self._changed = changed
        self._others = others
        self._observer = observer
        self._told = told
        self._is_synchronous = is_synchronous
        self._items: deque[Item] = deque()
        self._shipper: WalShipper | None = None
        self._steps = StepWatch()
        self._history_of: TimelineId | None = None
        self._is_let_go = self._is_due = False
        self._followed_until = 0.0
        self._thread = threading.Thread(target=self.run, name=f"wal to {sink.name or 'repository'}", daemon=True)

    @property
    def durable(self) -> Lsn | None:
        """Everything before it is in the repository; None while nobody knows."""
        shipper = self._shipper
        if shipper is not None:
            return shipper.durable
        return None if self.place is None else self.place[1]

    def begin_at(self, stream: WalStreamId, position: Lsn, durable: Lsn) -> None:
        """The lane is live from the stream's first byte on. Before `start`."""
        self._ship_from(stream, position, durable)
        self.is_live = True

    def start(self) -> None:
        """The thread runs."""
        self._thread.start()

    def join(self, seconds: float | None = None) -> None:
        """The thread has ended, or the time is up."""
        self._thread.join(seconds)

    def hand(self, item: Item) -> None:
        """The item is the lane's business, once it is live or enlisted."""
        self._items.append(item)

    def enlist(self, items: list[Item]) -> None:
        """Whatever was handed over is forgotten; it begins anew with these."""
        self._items = deque(items)
        self._is_let_go = False
        self.is_live = True

    def let_go(self) -> None:
        """It is handed nothing more, and will catch up from another repository."""
        self._items.clear()
        self.is_live, self._is_let_go = False, True
        self._changed.notify_all()

    def run(self) -> None:
        """Until it is told to end, or cannot go on."""
        try:
            with contextlib.suppress(_Ended):
                self._open()
                while True:
                    with contextlib.suppress(_LetGo):
                        self._catch_up()
                        self._serve()
        except errors.SafepointError as error:
            self.error = error
        except BaseException as error:  # noqa: BLE001 - a thread that dies in silence would stop all acknowledgement
            self.error = errors.IN001.error(f"found {error!r} while storing WAL, expected nothing of the kind")
        finally:
            with self._changed:
                self.is_over = True
                self._changed.notify_all()
            self._told()

    def _open(self) -> None:
        if self.repository is None:
            repository = self._persistently(self.sink.open)
            self._persistently(lambda: self._others.admit(repository))
            self.repository = repository

    def _serve(self) -> None:
        """What was handed over is taken and, when due, stored."""
        with self._changed:
            self._changed.wait_for(self._has_work)
            if self._is_let_go:
                self._forget()
                return
            items, self._items = self._items, deque()
            is_end = self.is_ending
        for item in items:
            self._take(item)
        if is_end:
            self._is_due = True
        self._ship()
        if is_end:
            raise _Ended

    def _has_work(self) -> bool:
        return bool(self._items) or self.is_ending or self._is_let_go

    def _take(self, item: Item) -> None:
        shipper = self._require_shipper()
        if isinstance(item, Chunk):
            skipped = max(0, shipper.position - item.start)
            if skipped < len(item.data):
                shipper.take(item.start + skipped, memoryview(item.data)[skipped:])
        elif isinstance(item, Due):
            self._is_due = True
            shipper.mark = item.mark or shipper.mark
            if item.mark is not None:
                self._steps.note(shipper.stream.cluster, shipper.stream.timeline, item.mark)
        else:
            self._is_due = True
            self._ship()
            self._ship_from(item.stream, item.position, item.position)

    def _ship(self) -> None:
        is_full = self._is_due or self._is_synchronous

        def ship() -> None:
            shipper = self._require_shipper()
            self._require_followed()
            self._put_history(shipper.stream)
            self._steps.put(self._require_repository())
            if is_full:
                shipper.ship_open()
            else:
                shipper.ship_whole()

        self._persistently(ship)
        self._is_due = False
        self._told()

    def _require_followed(self) -> None:
        """WL001 once production is elsewhere, at most a minute after that was recorded here."""
        now = time.monotonic()
        if now >= self._followed_until:
            require_followed(self._require_repository(), self._others.ground)
            self._followed_until = now + FOLLOWED_SECONDS

    def _put_history(self, stream: WalStreamId) -> None:
        if stream.history and stream.timeline != self._history_of:
            self._require_repository().put_history(stream.cluster, stream.timeline, stream.history)
        self._history_of = stream.timeline

    def _catch_up(self) -> None:
        """Holds what the others do, up to where it is handed the rest. The shipper is there, or it has to end."""
        while self._shipper is None:
            self._persistently(lambda: self._refill(None))
            with self._changed:
                stream, position = self._others.enlist(self)
            until = (stream.timeline, position)
            while not self._is_let_go and not self._stands_at(until):
                self._persistently(lambda until=until: self._refill(until))
            with self._changed:
                if not self._is_let_go:
                    place = self.place
                    self._ship_from(stream, position, position if place is None else max(place[1], position))

    def _stands_at(self, place: Place) -> bool:
        return self.place is not None and self.place >= place

    def _refill(self, until: Place | None) -> None:
        """One pass; waits a little when nobody has anything for it."""
        repository, ground = self._require_repository(), self._others.ground
        before = self.place = standing(repository, ground)
        with self._changed:
            source = self._others.source_for(self)
        if source is not None:
            refill(
                source,
                repository,
                ground.cluster,
                since=before if self.sink.is_required else None,
                until=until,
                may_go_on=lambda: not self.is_ending,
            )
            self.place = standing(repository, ground)
            self._told()
        if self.place is None and until is not None and until[1] <= self._others.first:
            self.place = until  # nobody has anything from before: it begins with the others
        if until is not None and not self._stands_at(until):
            self._pause(FIRST_PAUSE)

    def _persistently(self, work: Callable[[], _T]) -> _T:
        """What the work returns; while the store refuses it is tried again, and told each time."""
        pause = FIRST_PAUSE
        while True:
            is_last = self.is_last
            try:
                result = work()
            except errors.SafepointError as error:
                if error.spec not in STORE_ERRORS or is_last:
                    raise
                self.is_failing = True
                self._observer.troubled(named(error, self.sink))
            else:
                self.is_failing = False
                return result
            self._pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _pause(self, seconds: float) -> None:
        """Shorter when the last try has come; a lane that has nothing left to put then ends."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_last or self._is_let_go or self._may_end, seconds)
            if self._may_end:
                raise _Ended
            if self._is_let_go and self._shipper is not None:
                self._forget()
                raise _LetGo

    @property
    def _may_end(self) -> bool:
        """Whether it is told to end and has nothing of its own: what it lacks, others have."""
        return self.is_ending and self._shipper is None

    def _forget(self) -> None:
        if self._shipper is not None:
            self.place = (self._shipper.stream.timeline, self._shipper.durable)
        self._shipper = None

    def _ship_from(self, stream: WalStreamId, position: Lsn, durable: Lsn) -> None:
        self._shipper = WalShipper(
            repository=self._require_repository(), stream=stream, position=position, durable=durable
        )

    def _require_shipper(self) -> WalShipper:
        assert self._shipper is not None  # noqa: S101 - only a lane that is live is handed anything
        return self._shipper

    def _require_repository(self) -> Repository:
        assert self.repository is not None  # noqa: S101 - opened first of all
        return self.repository


class _Ended(Exception):
    """The lane was told to end."""


class _LetGo(Exception):
    """The lane was let go while its store refused."""


def named(error: errors.SafepointError, sink: Sink) -> errors.SafepointError:
    """The error with the repository's name, where there are several."""
    if not sink.name:
        return error
    kind = "required" if sink.is_required else "eventual"
    return error.spec.error(
        f"{kind} repository {sink.name}: {error.message}", changed=error.changed, hints=list(error.hints)
    )
