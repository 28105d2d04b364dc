"""Restores killed while WAL is fed, whether restore or server: the same command goes on; what was fed stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backups import carry_out, connected, pin, restore_plan, wait_until
from restoring import EIGHTEEN, Scene, ids
from safepoint import errors
from safepoint.model.lsn import Lsn
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import adopt_cluster, is_running, remove_cluster, running, stop
from safepoint.postgres.connect import connect
from safepoint.postgres.pid_file import live_pid_file
from safepoint.recovery import feeding
from safepoint.recovery.directory import MARKER
from safepoint.recovery.plan import plan_restore
from safepoint.recovery.replay import url_of
from safepoint.steps.journal import open_file_journal


@EIGHTEEN
def test_a_server_that_is_killed_while_it_is_fed_is_started_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RC003 the first time; the same command replays from where the control file says."""
    into, journal = scene.root / "server-killed", scene.root / "server-killed.journal"
    plan = restore_plan(scene.repository, scene.backup, into, "latest")
    with monkeypatch.context() as patched, open_file_journal(journal, plan) as kept:
        patched.setattr(feeding.Feeder, "_put", killing_the_server(into))
        with pytest.raises(errors.Damaged) as caught:
            carry_out(plan, scene.repository, kept)
    assert caught.value.spec is errors.RC003
    assert (into / MARKER).exists()

    with open_file_journal(journal, plan) as kept:
        run = carry_out(plan, scene.repository, kept)

    assert run.outcomes["recover"]["replayed"] is not None
    with connected(into, 18) as connection:
        assert ids(connection) == {commit.row for commit in scene.commits}


def killing_the_server(into: Path) -> Callable[..., None]:
    """What a feeder does with a segment, and its server killed before one that is needed."""
    put = feeding.Feeder._put

    def kill_and_put(self: feeding.Feeder, *segment_and_draft: Any) -> None:
        if self.fed > scene_stop(self):
            wait_until(lambda: live_pid_file(into) is not None)
            postmaster = live_pid_file(into)
            assert postmaster is not None
            os.kill(postmaster.pid, signal.SIGKILL)
            self._is_over.wait(5)
        put(self, *segment_and_draft)

    return kill_and_put


def scene_stop(feeder: feeding.Feeder) -> Lsn:
    """Where the backup that is fed ended."""
    return feeder._what.unwatched


@EIGHTEEN
def test_a_restore_that_is_killed_while_it_feeds_goes_on(scene: Scene) -> None:
    """Its server waits meanwhile for what does not come, and never promotes."""
    into, journal = scene.root / "feeder-killed", scene.root / "feeder-killed.journal"
    plan = restore_plan(scene.repository, scene.backup, into, "latest")
    code = (
        "import os, signal; from backups import *; from safepoint.recovery import feeding\n"
        "from safepoint.steps.journal import open_file_journal\n"
        f"repository = reopened(Path({str(scene.root)!r}))\n"
        f"plan = restore_plan(repository, repository.backup({scene.backup.id!r}), Path({str(into)!r}), 'latest')\n"
        "put = feeding.Feeder._put\n"
        "def dying(self, segment, draft):\n"
        "    if self.fed > self._what.unwatched: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    put(self, segment, draft)\n"
        "feeding.Feeder._put = dying\n"
        f"with open_file_journal(Path({str(journal)!r}), plan) as journal: carry_out(plan, repository, journal)\n"
    )
    died = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False)
    assert died.returncode == -signal.SIGKILL

    with open_file_journal(journal, plan) as kept:
        carry_out(plan, scene.repository, kept)

    with connected(into, 18) as connection:
        assert ids(connection) == {commit.row for commit in scene.commits}
        assert not list((into / "pg_wal").glob("safepoint.*"))


@EIGHTEEN
def test_a_copy_that_was_handed_over_unpromoted_starts_again_by_itself(scene: Scene) -> None:
    """What was fed is durable and stays where replay may begin anew."""
    into = scene.root / "by-itself"
    pinned = pin(scene.repository, scene.backup, str(scene.end))
    carry_out(plan_restore(pinned, scene.backup, into=into, promotes=False), scene.repository)
    cluster = adopt_cluster(into, find_binaries(18))
    stop(cluster, mode="immediate")
    with running(cluster), connect(url_of(cluster, "postgres")) as connection:
        wait_until(lambda: ids(connection) == {commit.row for commit in scene.commits})
    assert not is_running(cluster)
    remove_cluster(cluster)
