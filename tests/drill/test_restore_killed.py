"""Restores that are killed at every step, or find another at work: the same command finishes them."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backups import (
    carry_out,
    connected,
    restore_plan,
    restored,
    wait_until,
)
from restoring import EIGHTEEN, Scene, ids
from safepoint import errors
from safepoint.model.json_value import JsonObject
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import adopt_cluster, remove_cluster, stop
from safepoint.recovery.actions import restore_actions
from safepoint.recovery.directory import MARKER
from safepoint.recovery.plan import proofs_of
from safepoint.recovery.proofs import ProofKind, Question
from safepoint.steps.execute import Context, execute
from safepoint.steps.journal import MemoryJournal, open_file_journal
from safepoint.steps.plan import Step


@EIGHTEEN
def test_a_second_restore_into_the_same_directory_waits_for_nobody(scene: Scene) -> None:
    """It is refused while the first is at work."""
    into = scene.root / "twice"
    plan = restore_plan(scene.repository, scene.backup, into, "latest")
    code = waiting_code(scene, into, "prove-files")
    first = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    try:
        wait_until((into / "PG_VERSION").exists)
        with pytest.raises(errors.Refused, match="another restore"):
            carry_out(plan, scene.repository)
    finally:
        first.kill()
        first.wait()
    carry_out(plan, scene.repository)
    remove_cluster(adopt_cluster(into, find_binaries(18)))


@EIGHTEEN
def test_killed_at_any_step_the_same_command_finishes_the_restore(scene: Scene) -> None:
    """SIGKILL as each step begins and as it ends, the journal kept; the copy is whole in the end."""
    into, journal = scene.root / "killed", scene.root / "restore.journal"
    plan = restore_plan(scene.repository, scene.backup, into, "latest")
    for step in plan.steps:
        for when in ("before", "after"):
            code = killing_code(scene, into, journal, step.name, when)
            died = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False)
            assert died.returncode == -signal.SIGKILL, (step.name, when)

    with open_file_journal(journal, plan) as kept:
        carry_out(plan, scene.repository, kept)

    with connected(into, 18) as connection:
        assert ids(connection) == {commit.row for commit in scene.commits}
        assert not (into / MARKER).exists()


@EIGHTEEN
def test_a_copy_whose_server_died_after_recovery_is_proven_only_when_it_is_there_again(scene: Scene) -> None:
    """The server that replays anew lets us in long before: its answers would speak of another instant."""
    into = scene.root / "died-again"
    count = Question(database="postgres", query="SELECT count(*) FROM rows")
    plan = restore_plan(scene.repository, scene.backup, into, "latest", [count])

    with restore_actions(scene.repository) as actions:

        def recover_and_die(step: Step, context: Context) -> JsonObject:
            outcome = actions["restore.recover"](step, context)
            cluster = adopt_cluster(into, find_binaries(18))
            stop(cluster, mode="immediate")
            age = datetime.now(UTC) - scene.commits[-1].at
            with (into / "postgresql.auto.conf").open("a") as file:
                file.write(f"recovery_min_apply_delay = '{age.total_seconds() + 5:.0f}s'\n")
            return outcome

        run = execute(plan, actions={**actions, "restore.recover": recover_and_die}, journal=MemoryJournal())

    (asked,) = [proof for proof in proofs_of(run.outcomes) if proof.kind is ProofKind.QUESTION]
    remove_cluster(adopt_cluster(into, find_binaries(18)))
    assert asked.detail == str(len(scene.commits))


@EIGHTEEN
@pytest.mark.parametrize("step", ["write", "recover", "promote"])
def test_killed_without_a_journal_a_new_restore_takes_over(scene: Scene, step: str) -> None:
    """Also to another target, and though the killed one's server still runs."""
    into = scene.root / f"taken-{step}"
    code = killing_code(scene, into, scene.root / f"{step}.journal", step, "after")
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False)

    with restored(scene.repository, scene.backup, into, str(scene.backup.stop_lsn)) as connection:
        assert len(ids(connection)) < len(scene.commits)


def killing_code(scene: Scene, into: Path, journal: Path, step: str, when: str) -> str:
    """A restore in a process that kills itself around one step."""
    return (
        "import os, signal; from backups import *; from safepoint.steps.journal import open_file_journal\n"
        f"repository = reopened(Path({str(scene.root)!r}))\n"
        f"plan = restore_plan(repository, repository.backup({scene.backup.id!r}), Path({str(into)!r}), 'latest')\n"
        f"def dying(action, when):\n"
        "    def run(step, context):\n"
        "        if when == 'after': action(step, context)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return run\n"
        f"with open_file_journal(Path({str(journal)!r}), plan) as journal, restore_actions(repository) as actions:\n"
        f"    name = 'restore.{step}'\n"
        f"    execute(plan, actions={{**actions, name: dying(actions[name], {when!r})}}, journal=journal)\n"
    )


def waiting_code(scene: Scene, into: Path, stop_before: str) -> str:
    """A restore in a process that waits for ever before one step."""
    return (
        "import time; from backups import *\n"
        f"repository = reopened(Path({str(scene.root)!r}))\n"
        f"plan = restore_plan(repository, repository.backup({scene.backup.id!r}), Path({str(into)!r}), 'latest')\n"
        "with restore_actions(repository) as actions:\n"
        f"    execute(plan, actions={{**actions, 'restore.{stop_before}': lambda *_: time.sleep(600)}}, "
        "journal=MemoryJournal())\n"
    )
