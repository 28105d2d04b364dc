"""Delta restores over what a server ran on: whose directory it may be, and that it ends proven, killed or not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import servers
from backups import carry_out, connected, pin
from restoring import Scene, ids
from safepoint import errors
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import adopt_cluster, stop
from safepoint.recovery.directory import MARKER
from safepoint.recovery.options import RestoreOptions
from safepoint.recovery.plan import plan_restore, proofs_of
from safepoint.recovery.proofs import Outcome, ProofKind
from safepoint.steps.plan import Plan

_DIES_COMPARING = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from backups import reopened
from safepoint.recovery import comparing
from safepoint.recovery.files import write_files
from safepoint.recovery.directory import RestoreDirectory
from safepoint.postgres.binaries import find_binaries

repository = reopened(Path({root!r}))
backup = repository.backup({backup!r})
read, calls = comparing._read, []

def read_and_die(*arguments):
    calls.append(1)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(*arguments)

comparing._read = read_and_die
into = RestoreDirectory(Path({into!r}))
note = {{"plan": "0", "system_identifier": backup.system_identifier}}
into.claim(find_binaries({major}), note, 0, is_delta=True)
write_files(repository, backup, into.path, lambda done: None, is_delta=True)
"""


def _delta(scene: Scene, into: Path) -> Plan:
    pinned = pin(scene.repository, scene.backup, "latest")
    return plan_restore(pinned, scene.backup, into=into, options=RestoreOptions(is_delta=True))


def test_a_copy_that_went_on_is_brought_back(scene: Scene, major: int) -> None:
    """Running: refused, untouched. Stopped: killed amid it, then done; only what differs is fetched, all is proven."""
    into = scene.root / "delta"
    plan = _delta(scene, into)
    carry_out(plan, scene.repository)
    cluster = adopt_cluster(into, find_binaries(major))
    with pytest.raises(errors.Refused, match="RC002: found a running server on"):
        carry_out(plan, scene.repository)
    assert not (into / MARKER).exists()
    stop(cluster)
    (into / "base" / "stray").write_text("surplus")

    code = _DIES_COMPARING.format(
        tests=str(Path(__file__).parents[1]),
        root=str(scene.root),
        backup=scene.backup.id,
        into=str(into),
        major=major,
    )
    died = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False)
    assert died.returncode == -signal.SIGKILL
    assert (into / MARKER).exists()
    assert not (into / "global/pg_control").exists()
    run = carry_out(plan, scene.repository)

    [files] = [proof for proof in proofs_of(run.outcomes) if proof.kind is ProofKind.FILES]
    assert files.outcome is Outcome.PASS
    fetched = run.outcomes["write"]["fetched_bytes"]
    assert isinstance(fetched, int)
    assert fetched < scene.backup.raw_bytes / 4
    with connected(into, major) as connection:
        assert ids(connection) == {commit.row for commit in scene.commits}


def test_another_cluster_is_left_alone(scene: Scene, major: int) -> None:
    """RC002 names both; nothing is marked, nothing is missing."""
    with servers.server_directory() as root, servers.serving(root, major, {}) as other:
        stop(other)

        with pytest.raises(errors.Refused, match=f"expected that with {scene.backup.system_identifier}"):
            carry_out(_delta(scene, other.data), scene.repository)

        assert (other.data / "global/pg_control").exists()
        assert not (other.data / MARKER).exists()
