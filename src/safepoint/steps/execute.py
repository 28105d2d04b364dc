"""The executor: runs a plan's steps in order, each journalled before and after, skipping what is finished.

A step that was started and not finished (the process died in it) runs again, and is told so: every action must
therefore be repeatable. Nothing here knows what an action does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from safepoint.errors import SafepointError
from safepoint.model.json_value import Json, JsonObject
from safepoint.model.measures import Clock, system_clock
from safepoint.steps.journal import Entry, Event, Journal
from safepoint.steps.plan import Plan, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a step is: `done` of `total` units; total None when unknown."""

    done: int
    total: int | None
    unit: str


class Observer(Protocol):
    """Who is told while a plan runs. Must not raise."""

    def step_started(self, step: Step) -> None:
        """The step's action is about to be called."""
        ...

    def step_progressed(self, step: Step, progress: Progress) -> None:
        """The action reported progress."""
        ...

    def step_ended(self, step: Step, entry: Entry) -> None:
        """The step was skipped as finished before, finished, or failed."""
        ...


class Silence:
    """An observer that tells nobody."""

    def step_started(self, step: Step) -> None:
        """Nothing."""

    def step_progressed(self, step: Step, progress: Progress) -> None:
        """Nothing."""

    def step_ended(self, step: Step, entry: Entry) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What an action may know beside its step.

    `outcomes` are those of the finished steps by name; `is_repeat` says that an earlier attempt began this step and
    did not finish it.
    """

    plan: Plan
    outcomes: Mapping[str, JsonObject]
    is_repeat: bool
    report: Callable[[Progress], None]


Action = Callable[[Step, Context], JsonObject]
"""Does a step's work and returns its outcome, JSON, which later steps and the journal keep. Must be repeatable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A plan carried out whole: the outcome and the seconds of each step (of a skipped step, those recorded)."""

    plan: Plan
    outcomes: Mapping[str, JsonObject]
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])


def execute(
    plan: Plan,
    *,
    actions: Mapping[str, Action],
    journal: Journal,
    observer: Observer | None = None,
    clock: Clock = system_clock,
) -> Run:
    """Carries out every step not yet finished in `journal`, in order.

    When it returns, every step is journalled as finished. When an action raises, the step is journalled as failed
    and the exception goes on; nothing after it has begun. KeyError before anything runs if an action is unknown.
    """
    bound = [(step, actions[step.action]) for step in plan.steps]
    watcher = observer or Silence()
    finished = {entry.step: entry for entry in journal.entries() if entry.event is Event.FINISHED}
    begun = {entry.step for entry in journal.entries() if entry.event is Event.STARTED}
    outcomes: dict[str, JsonObject] = {}
    seconds: dict[str, float] = {}
    for step, action in bound:
        entry = finished.get(step.name)
        if entry is None:
            context = Context(
                plan=plan,
                outcomes=dict(outcomes),
                is_repeat=step.name in begun,
                report=_reporter(step, watcher),
            )
            entry = _carry_out(step, action, context, journal=journal, observer=watcher, clock=clock)
        watcher.step_ended(step, entry)
        outcomes[step.name] = entry.outcome
        seconds[step.name] = entry.seconds or 0.0
    return Run(plan=plan, outcomes=outcomes, seconds=seconds)


def _carry_out(
    step: Step, action: Action, context: Context, *, journal: Journal, observer: Observer, clock: Clock
) -> Entry:
    journal.record(Entry(step=step.name, event=Event.STARTED, at=clock().isoformat()))
    observer.step_started(step)
    began = time.monotonic()
    try:
        outcome = action(step, context)
    except BaseException as error:
        failed = Entry(
            step=step.name,
            event=Event.FAILED,
            at=clock().isoformat(),
            seconds=time.monotonic() - began,
            outcome=_fault(error),
        )
        _record_failure(journal, failed, error)
        observer.step_ended(step, failed)
        raise
    entry = Entry(
        step=step.name,
        event=Event.FINISHED,
        at=clock().isoformat(),
        seconds=time.monotonic() - began,
        outcome=outcome,
    )
    journal.record(entry)
    return entry


def _record_failure(journal: Journal, failed: Entry, error: BaseException) -> None:
    """Journals the failure where that is possible; what went wrong first is what is raised."""
    try:
        journal.record(failed)
    except Exception as second:  # noqa: BLE001 - the full disk that ended the action may end this, too
        error.add_note(f"and the journal did not take it: {second}")


def _reporter(step: Step, observer: Observer) -> Callable[[Progress], None]:
    return lambda progress: observer.step_progressed(step, progress)


def _fault(error: BaseException) -> dict[str, Json]:
    code = error.spec.code if isinstance(error, SafepointError) else type(error).__name__
    return {"error": code, "message": str(error)}
