"""What proves that the process of a lease is gone, where /proc shows less than there is, or another's numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from safepoint.repository.commit import writer_process
from safepoint.repository.commit.writer_process import this_process, why_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is known of processes elsewhere")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc that shows a process nothing but itself, as with `hidepid=2` another user's."""
    real = Path("/proc")
    for name in ("sys/kernel/random/boot_id", "self/status"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((real / name).read_text())
    (tmp_path / "self/ns").mkdir()
    for name in ("pid", "time"):
        (tmp_path / "self/ns" / name).symlink_to((real / "self/ns" / name).readlink())
    monkeypatch.setattr(writer_process, "_PROC", tmp_path)
    return tmp_path


def test_a_living_process_without_a_directory_is_not_gone(proc: Path) -> None:
    """This one, which no directory of /proc tells of."""
    assert not (proc / str(os.getpid())).exists()
    assert why_gone(replace(this_process(), started=1)) is None


def test_a_process_that_ended_is_gone_without_proc(proc: Path) -> None:
    """The kernel says that there is none."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert "no process" in str(why_gone(replace(this_process(), pid=ended.pid)))
    assert proc.exists()


def test_the_numbers_of_another_container_prove_nothing(proc: Path) -> None:
    """Where /proc is the parent's, another process has this one's number there."""
    (proc / str(os.getpid())).mkdir()
    (proc / str(os.getpid()) / "stat").write_text("1 (init) " + " ".join(["7"] * 30))
    recorded = replace(this_process(), started=1)
    assert "started later" in str(why_gone(recorded))

    (proc / "self/status").write_text("Name:\tpython\nNSpid:\t4711\t12\n")

    assert this_process().started is None
    assert why_gone(recorded) is None
