"""Plan → show → execute, the same for every command that changes something."""

from __future__ import annotations

from collections.abc import Callable

from safepoint.cli.narrate import narrated
from safepoint.cli.show import print_json, show_plan
from safepoint.steps.execute import Observer, Run
from safepoint.steps.plan import Plan, plan_to_json


def show_then_execute(plan: Plan, execute: Callable[[Observer], Run], *, is_dry_run: bool, is_json: bool) -> Run | None:
    """Shows the plan and, unless it is a dry run, carries it out. With a dry run and --json the plan is the data."""
    show_plan(plan)
    if is_dry_run:
        if is_json:
            print_json(plan_to_json(plan))
        return None
    with narrated() as observer:
        return execute(observer)
