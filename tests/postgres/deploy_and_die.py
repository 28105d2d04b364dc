"""Deploys a folder and kills itself at a given moment of a given step: `URL FOLDER STEP MOMENT`.

Moments: `started` (journalled, nothing sent), `sent` (a statement alone is carried out, its books are not kept),
`done` (the action is over, the executor has not recorded it), `ended` (recorded).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from migrating import UNSAFE
from safepoint.migration.deploy import alone, deploy_actions, open_deployment, plan_deploy
from safepoint.migration.deploy.task import UnitTask
from safepoint.postgres.url import DatabaseUrl
from safepoint.steps.execute import Action, Context, Silence, execute
from safepoint.steps.journal import Entry
from safepoint.steps.plan import Step


def die() -> None:
    """As a machine that loses its power."""
    os.kill(os.getpid(), signal.SIGKILL)


class Death(Silence):
    """Kills the process when the executor tells of the step."""

    def __init__(self, step: str, moment: str) -> None:
        self._step = step
        self._moment = moment

    def step_started(self, step: Step) -> None:
        """The STARTED entry is durable."""
        if (step.name, "started") == (self._step, self._moment):
            die()

    def step_ended(self, step: Step, entry: Entry) -> None:
        """The FINISHED entry is durable."""
        del entry
        if (step.name, "ended") == (self._step, self._moment):
            die()


def deadly(action: Action, name: str) -> Action:
    """The action, and death after it."""

    def run(step: Step, context: Context) -> Any:
        outcome = action(step, context)
        if step.name == name:
            die()
        return outcome

    return run


def deadly_before(finish: Callable[..., None], name: str) -> Callable[..., None]:
    """Death where the books of that step would be kept."""

    def run(task: UnitTask, *rest: Any) -> None:
        if task.step == name:
            die()
        finish(task, *rest)

    return run


def main(url: str, folder: str, step: str, moment: str) -> None:
    """Returns only when the moment never came."""
    plan = plan_deploy(DatabaseUrl.parse(url), Path(folder), settings=UNSAFE)
    with open_deployment(DatabaseUrl.parse(url), plan, schema="public") as deployment:
        actions = dict(deploy_actions(deployment, safety=None))
        if moment == "done":
            actions["migrate.unit"] = deadly(actions["migrate.unit"], step)
        if moment == "sent":
            alone._finish = deadly_before(alone._finish, step)  # pyright: ignore[reportPrivateUsage]
        execute(plan, actions=actions, journal=deployment.journal, observer=Death(step, moment))


if __name__ == "__main__":
    main(*sys.argv[1:])
