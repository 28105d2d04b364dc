"""A plan: an ordered tuple of steps that prints, serialises and runs again.

Steps are values, not closures: `action` names the function that a workflow registers with the executor, `arguments`
is JSON. Invariant: step names are unique within a plan, and a plan's id follows from its content and `subject`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

from safepoint.model.json_value import Json, JsonObject


class StepKind(Enum):
    """An action changes or reads something; a gate only decides whether to go on."""

    ACTION = "action"
    GATE = "gate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One unit of work that may be repeated whole after a crash: `action` applied to `arguments`."""

    name: str
    action: str
    title: str
    arguments: JsonObject = field(default_factory=dict[str, Json])
    kind: StepKind = StepKind.ACTION


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be done, in order. `subject` is what it is done to; `facts` is what the reader should know first."""

    verb: str
    subject: str
    title: str
    steps: tuple[Step, ...]
    facts: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if len(set(names)) != len(names):
            raise ValueError(f"found repeated step names in {names}, expected each once")

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits that follow from the verb, the subject and every step."""
        content = json.dumps([self.verb, self.subject, [_step_to_json(step) for step in self.steps]], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def plan_to_json(plan: Plan) -> dict[str, Json]:
    """The plan as JSON; `plan_from_json` gives back an equal plan."""
    return {
        "id": plan.id,
        "verb": plan.verb,
        "subject": plan.subject,
        "title": plan.title,
        "facts": [list(fact) for fact in plan.facts],
        "warnings": list(plan.warnings),
        "steps": [_step_to_json(step) for step in plan.steps],
    }


def plan_from_json(value: Mapping[str, Any]) -> Plan:
    """The plan that `plan_to_json` wrote; KeyError or ValueError for anything else."""
    return Plan(
        verb=value["verb"],
        subject=value["subject"],
        title=value["title"],
        facts=tuple((str(name), str(text)) for name, text in cast("list[list[str]]", value["facts"])),
        warnings=tuple(value["warnings"]),
        steps=tuple(_step_from_json(step) for step in value["steps"]),
    )


def _step_to_json(step: Step) -> dict[str, Json]:
    return {
        "name": step.name,
        "action": step.action,
        "title": step.title,
        "arguments": step.arguments,
        "kind": step.kind.value,
    }


def _step_from_json(value: Mapping[str, Any]) -> Step:
    return Step(
        name=value["name"],
        action=value["action"],
        title=value["title"],
        arguments=value["arguments"],
        kind=StepKind(value["kind"]),
    )
