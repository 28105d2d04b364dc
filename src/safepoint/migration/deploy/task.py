"""What one step of a deployment has to do, as a value that a plan can hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from safepoint.migration.deploy.settings import LockBudget, locks_from_json, locks_to_json
from safepoint.migration.units import Unit, UnitKind, unit_from_json, unit_to_json
from safepoint.model.json_value import JsonObject
from safepoint.steps.plan import Step

UNIT_ACTION = "migrate.unit"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTask:
    """One unit of a file with `of` units; the last one writes the row with the file's `checksum` into `schema`."""

    unit: Unit
    of: int
    schema: str
    checksum: str
    locks: LockBudget

    @property
    def step(self) -> str:
        """The name of its step."""
        return f"{self.unit.migration}/{self.unit.number}"

    @property
    def is_last(self) -> bool:
        """Whether the file's row is written with it."""
        return self.unit.number >= self.of

    @property
    def title(self) -> str:
        """`unit 2 of 3 of 20250114093015_init`."""
        return f"unit {self.unit.number} of {self.of} of {self.unit.migration}"


def step_of(task: UnitTask) -> Step:
    """The step that carries the task out."""
    arguments: JsonObject = {
        **unit_to_json(task.unit),
        "of": task.of,
        "schema": task.schema,
        "checksum": task.checksum,
        "digest": task.unit.digest,
        "locks": locks_to_json(task.locks),
    }
    return Step(name=task.step, action=UNIT_ACTION, title=_title(task), arguments=arguments)


def task_of(step: Step) -> UnitTask:
    """The task that `step_of` wrote."""
    arguments: Any = step.arguments
    return UnitTask(
        unit=unit_from_json(arguments),
        of=arguments["of"],
        schema=arguments["schema"],
        checksum=arguments["checksum"],
        locks=locks_from_json(arguments["locks"]),
    )


def _title(task: UnitTask) -> str:
    unit = task.unit
    if not unit.statements:
        return f"{unit.migration}: write its row"
    how = "outside of any transaction" if unit.kind is UnitKind.ALONE else "in one transaction"
    return f"{unit.migration}: {unit.lines} {how}"
