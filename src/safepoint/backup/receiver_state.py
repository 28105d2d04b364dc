"""What a WAL receiver tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from safepoint.errors import SafepointError
from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn, TimelineId


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneState:
    """Where one repository stands; `durable` None: that is not known yet. Catching up: it takes from the others."""

    name: str
    is_required: bool
    durable: Lsn | None
    is_catching_up: bool
    is_failing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverState:
    """Where a receiver stands: durable ≤ received ≤ server_end, all on `timeline`; `mark` is the newest it fetched.

    `durable` is what was acknowledged: every required repository holds it. `lanes` are the repositories, `server` is
    who the WAL comes from.
    """

    cluster: str
    timeline: TimelineId
    received: Lsn
    durable: Lsn
    server_end: Lsn
    mark: Mark | None
    lanes: tuple[LaneState, ...] = ()
    server: str = ""

    @property
    def lag_bytes(self) -> int:
        """WAL that the server has and the repository has not."""
        return self.server_end - self.durable


class ReceiverObserver(Protocol):
    """Who is told while a receiver runs. Must not raise."""

    def progressed(self, state: ReceiverState) -> None:
        """The receiver stands here."""
        ...

    def troubled(self, error: SafepointError) -> None:
        """The server or the store refuses; the receiver goes on trying and acknowledges nothing meanwhile."""
        ...


class Unobserved:
    """Tells nobody."""

    def progressed(self, state: ReceiverState) -> None:
        """Nothing."""

    def troubled(self, error: SafepointError) -> None:
        """Nothing."""
