"""What a run finds: facts of the machine and the data, and one result for each row of the table. Serialises as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from bench.measure import Outcome

PGBACKREST: Final = "pgBackRest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row. `ratio` is how many times better than `baseline` (1.5: half as long again), None where nothing compares.

    `is_met` is None where no target was set, or where it could not be measured; the note then says why.
    """

    name: str
    title: str
    value: float | None
    unit: str
    baseline: str = ""
    ratio: float | None = None
    target: str = ""
    is_met: bool | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All of one run. `facts` are what a reader must know to compare: machine, versions, data, rounds, date."""

    facts: Mapping[str, str]
    results: tuple[Result, ...]

    def to_json(self) -> str:
        """The run as indented JSON."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Run:
        """What `to_json` wrote; ValueError, TypeError or KeyError for anything else."""
        data: dict[str, Any] = json.loads(text)
        return cls(facts=data["facts"], results=tuple(Result(**row) for row in data["results"]))


def unmeasured(name: str, title: str, target: str, why: str) -> Result:
    """A row that could not be measured: unknown, neither met nor missed."""
    return Result(name=name, title=title, value=None, unit="", target=target, note=f"not measured: {why}")


def numbers(seconds: Sequence[float]) -> str:
    """Every value of a row, for its note."""
    return ", ".join(f"{value:.2f}" for value in seconds)


def numbers_of(outcomes: Sequence[Outcome]) -> str:
    """The seconds of every round."""
    return numbers([outcome.seconds for outcome in outcomes])


def median_of(outcomes: Sequence[Outcome]) -> float:
    """The median of the seconds."""
    return median(outcome.seconds for outcome in outcomes)
