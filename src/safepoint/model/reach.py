"""What a repository can restore, as people ask for it: per lineage of WAL the positions and instants, and what is lost.

`backup.reach` makes these from coverage.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from safepoint.model.lsn import Lsn, TimelineId
from safepoint.model.speed import Speed


class Within(Enum):
    """Where a backup stands to the window in which any instant is to be restorable.

    BEFORE: once WAL older than the window expires, only its end is left. ACROSS: what precedes the window goes so.
    """

    WINDOW = "window"
    ACROSS = "across"
    BEFORE = "before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """From backup `backup_id` every LSN in [start, end] of the timeline is restored best.

    In time from `earliest` to `latest`, each None where no mark tells. At the end `wal_bytes` are to be replayed and,
    as earlier restores went, `seconds` needed (None: unknown). `own_end` and `own_latest` say how far the backup leads
    by itself, should the next one be damaged.
    """

    backup_id: str
    start: Lsn
    end: Lsn
    earliest: datetime | None
    latest: datetime | None
    file_bytes: int
    wal_bytes: int
    seconds: float | None
    own_end: Lsn
    own_latest: datetime | None
    within: Within | None


class Cause(Enum):
    """Why WAL is missing, as far as can be told."""

    DAMAGED = "damaged"
    DELETED = "deleted"
    EXPIRED = "expired"
    HISTORY = "history"
    BEFORE_STREAM = "before-stream"
    NOT_RECEIVED = "not-received"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """WAL [start, end) of a timeline that is not held. `start` is 0/0 where nobody knows what leads to the timeline.

    The instants that it took away lie after `after` and before `before`, each None where no mark tells. `is_harmless`
    when every backup begins after it, `is_abandoned` where production did not go on: then it costs only what must be
    asked for.
    """

    timeline: TimelineId
    start: Lsn
    end: Lsn
    cause: Cause
    after: datetime | None
    before: datetime | None
    is_harmless: bool
    is_abandoned: bool = False

    @property
    def is_harmful(self) -> bool:
        """Whether it keeps a backup that is there from instants of production."""
        return not (self.is_harmless or self.is_abandoned)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """One lineage of WAL; `name` is that of its folder. One that is not followed must be asked for."""

    timeline: TimelineId
    name: str
    is_followed: bool
    reaches: tuple[Reach, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageReport:
    """Everything that can be restored of a database, lineage by lineage, and what cannot.

    The window begins at `window_start` (None: no window is stated, or no instant is known). `unreadable` manifests may
    hide backups. Of `pieces` of WAL, which are all listed, `opened_pieces` were opened: damage elsewhere is not seen.
    """

    database: str
    cluster: str | None
    newest: datetime | None
    window_start: datetime | None
    lineages: tuple[Lineage, ...]
    losses: tuple[Loss, ...]
    speed: Speed
    unreadable: tuple[str, ...] = ()
    pieces: int = 0
    opened_pieces: int = 0

    @property
    def harmful(self) -> tuple[Loss, ...]:
        """The losses that concern a backup which is there."""
        return tuple(loss for loss in self.losses if loss.is_harmful)

    @property
    def restorable_from(self) -> datetime | None:
        """The first instant of all that can be restored without asking for a lineage; None when none is known."""
        return min((earliest for earliest, _ in self._stretches()), default=None)

    @property
    def is_window_covered(self) -> bool | None:
        """Whether any instant of the window can be restored from the first backup's end on.

        Not where WAL is held behind a gap that nothing leads across: the window ends later than what can be restored.
        None when no window is stated or no time is known.
        """
        first = self.restorable_from
        if self.window_start is None or self.newest is None or first is None:
            return None
        covered = max(self.window_start, first)
        for earliest, latest in sorted(self._stretches()):
            if earliest <= covered:
                covered = max(covered, latest)
        resumed = [loss.before for loss in self.harmful if loss.before is not None]
        return covered >= max([self.newest, *resumed])

    def _stretches(self) -> list[tuple[datetime, datetime]]:
        return [
            (reach.earliest, reach.latest or reach.earliest)
            for lineage in self.lineages
            if lineage.is_followed
            for reach in lineage.reaches
            if reach.earliest is not None
        ]
