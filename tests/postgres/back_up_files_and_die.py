"""A backup of files that is killed at a moment: `URL DATA DIRECTORY MOMENT`, in a process of its own.

The moment is a share of the bytes copied, or `begin`, `end` (of the copy) or `wal`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from backups import actions_of, backup_plan, reopened
from safepoint.backup.sources.choice import Choice
from safepoint.backup.sources.files import FilesSource
from safepoint.model.backup import BackupSource
from safepoint.postgres.url import DatabaseUrl
from safepoint.steps.execute import Context, Progress, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Step


def die(*_: object) -> Any:
    """At once."""
    os.kill(os.getpid(), signal.SIGKILL)


def back_up(url: str, data: str, directory: str, moment: str) -> None:
    """Does not return."""
    if moment in {"begin", "end"}:
        setattr(FilesSource, "take" if moment == "begin" else "close", die)
    choice = Choice(source=BackupSource.FILES, reason="a test", data=Path(data))
    plan = backup_plan("doomed", choice)

    def copy(step: Step, context: Context) -> Any:
        def report(progress: Progress) -> None:
            if moment[0] == "0" and progress.done > float(moment) * (progress.total or 0):
                die()

        watched = Context(plan=plan, outcomes=context.outcomes, is_repeat=False, report=report)
        return inner["backup.copy"](step, watched)

    with actions_of(DatabaseUrl.parse(url), reopened(Path(directory))) as inner:
        execute(plan, actions={**inner, "backup.copy": copy, "backup.wal": die}, journal=MemoryJournal())


if __name__ == "__main__":
    back_up(*sys.argv[1:])
