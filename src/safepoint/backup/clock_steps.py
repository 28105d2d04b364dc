"""Clocks that were set back: what they had said before, on record in the repository. Records of kind `clock-steps`.

    {"cluster": …, "timeline": …, "lsn": …, "clock": …}

At that position or after it the server's clock said so at most, and was then set back. The marks between two segments
are few, and may not show it: without the record a recovery to an instant that came twice might begin behind the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from safepoint import errors
from safepoint.model.coverage import Mark
from safepoint.model.json_value import JsonObject
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.repository import Repository

CLOCK_STEPS = "clock-steps"


class StepWatch:
    """Sees the marks that go into one repository, and puts on record what they say of steps."""

    def __init__(self) -> None:
        self._steps: list[JsonObject] = []
        self._last: Mark | None = None

    def note(self, cluster: str, timeline: TimelineId, mark: Mark) -> None:
        """The mark is about to be shipped."""
        if mark.before_step is not None:
            lsn = mark.lsn if self._last is None else min(self._last.lsn, mark.lsn)
            clock = mark.before_step.isoformat()
            self._steps.append({"cluster": cluster, "timeline": timeline.value, "lsn": str(lsn), "clock": clock})
        self._last = mark

    def put(self, repository: Repository) -> None:
        """Every step noted so far is on record; may be repeated after an error."""
        while self._steps:
            repository.append_record(CLOCK_STEPS, self._steps[0])
            del self._steps[0]


def read_clock_steps(repository: Repository, cluster: str) -> Mapping[TimelineId, tuple[Mark, ...]]:
    """By timeline, what the cluster's clock had said before it was set back; RP005 when a record does not open."""
    found: dict[TimelineId, tuple[Mark, ...]] = {}
    for record in repository.records(CLOCK_STEPS):
        if record.get("cluster") == cluster:
            timeline, mark = _step_of(record)
            found[timeline] = (*found.get(timeline, ()), mark)
    return found


def _step_of(record: JsonObject) -> tuple[TimelineId, Mark]:
    try:
        clock = datetime.fromisoformat(str(record["clock"]))
        return TimelineId(int(str(record["timeline"]))), Mark(lsn=Lsn.parse(str(record["lsn"])), clock=clock)
    except (KeyError, ValueError) as error:
        raise errors.RP005.error(
            f"found a record of kind {CLOCK_STEPS} that says {dict(record)}, expected a timeline, an LSN and an instant"
        ) from error
