"""A planned piece of care of a repository: one step, shown before it is carried out, that ends in a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from safepoint.model.json_value import Json, JsonObject
from safepoint.repository import Repository
from safepoint.repository.care.progress import Report
from safepoint.steps.execute import Context, Observer, Run, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Plan, Step

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class CareJob(Generic[Result]):
    """What will be done to a repository, and how its result reads as JSON. Every kind of care may be repeated."""

    plan: Plan
    repository: Repository
    work: Callable[[Report], Result]
    to_json: Callable[[Result], dict[str, Json]]
    _results: list[Result] = field(default_factory=list[Result], repr=False)

    def execute(self, observer: Observer) -> Run:
        """It is done; `result` says what came of it."""
        actions = {step.action: self._do for step in self.plan.steps}
        return execute(self.plan, actions=actions, journal=MemoryJournal(), observer=observer)

    @property
    def result(self) -> Result:
        """What came of it, once it was carried out."""
        return self._results[-1]

    def _do(self, _step: Step, context: Context) -> JsonObject:
        result = self.work(context.report)
        self._results.append(result)
        return self.to_json(result)


def care_plan(
    verb: str,
    name: str,
    title: str,
    *,
    url: str,
    facts: Sequence[tuple[str, str]] = (),
    warnings: Sequence[str] = (),
    arguments: JsonObject | None = None,
) -> Plan:
    """The plan of one step that cares for the repository of this name."""
    step = Step(name=verb, action=f"repository.{verb}", title=title, arguments={"url": url, **(arguments or {})})
    return Plan(
        verb=f"repository {verb}",
        subject=name,
        title=f"{verb} repository {name}",
        steps=(step,),
        facts=(("url", url), *facts),
        warnings=tuple(warnings),
    )
