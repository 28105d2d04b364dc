"""The demo as a whole: it plays after having been killed, and prints nothing that it did not measure."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from vivr_demo.stage import kill_below

ORDERS = "3000"
KILLS = int(os.environ.get("SAFEPOINT_DEMO_KILLS", "1"))
"""How often the demo is killed before it may play to its end; `make campaign-demo` asks for five."""


def start_demo(directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vivr_demo", "--orders", ORDERS, "--directory", str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_until(is_so: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.1)


@pytest.fixture
def stage(server_root: Path) -> Generator[Path]:
    """A folder for one demo, in which nothing is left alive afterwards."""
    root = server_root / "demo"
    yield root
    kill_below(root)


@pytest.mark.timeout(600 * KILLS)
def test_killed_at_random_moments_it_plays_to_its_end_with_measured_figures(stage: Path) -> None:
    """Whatever SIGKILL left behind, the next run clears it, keeps every promise and reports measured figures."""
    seed = random.randrange(1 << 30)
    moments = random.Random(seed)
    for _ in range(KILLS):
        demo = start_demo(stage)
        time.sleep(moments.uniform(1, 35))
        demo.send_signal(signal.SIGKILL)
        demo.communicate()

    demo = start_demo(stage)
    said, _ = demo.communicate(timeout=300)

    assert demo.returncode == 0, f"seed {seed}\n{said}"
    report = json.loads((stage / "report.json").read_text())
    assert [scenario["verdict"] for scenario in report["scenarios"]] == ["kept"] * 3
    corruption, unavailable, complete = report["scenarios"]
    assert 0 < corruption["lost_commits"] < corruption["acknowledged_commits"]
    assert unavailable["lost_commits"] < unavailable["acknowledged_commits"]
    assert complete["lost_commits"] < complete["acknowledged_commits"]
    assert "<svg" in (stage / "report.html").read_text()


def test_without_the_commit_log_it_fails_and_prints_no_figures(stage: Path) -> None:
    """The figures come from the shoppers' log; when that is lost there are none."""
    demo = start_demo(stage)
    log = stage / "commits.jsonl"
    wait_until(lambda: log.exists() and log.stat().st_size > 0, seconds=60)
    log.unlink()

    said, _ = demo.communicate(timeout=120)

    assert demo.returncode == 1, said
    assert "the demo failed" in said
    assert "verdict" not in said
    assert not (stage / "report.html").exists()


def test_a_gap_in_the_commit_log_is_refused(stage: Path) -> None:
    """A log from which one line was taken is no evidence."""
    demo = start_demo(stage)
    log = stage / "commits.jsonl"
    wait_until(lambda: log.exists() and log.read_text().count("\n") > 20, seconds=60)
    lines = log.read_bytes().splitlines(keepends=True)
    with log.open("r+b") as file:
        file.write(b"".join([lines[0], *lines[2:]]))
        file.truncate()

    said, _ = demo.communicate(timeout=120)

    assert demo.returncode == 1, said
    assert "verdict" not in said


def test_interrupted_it_leaves_neither_processes_nor_files(stage: Path) -> None:
    """Ctrl-C ends servers, receiver and shoppers, and removes what they wrote."""
    demo = start_demo(stage)
    wait_until((stage / "commits.jsonl").exists, seconds=60)
    demo.send_signal(signal.SIGINT)

    said, _ = demo.communicate(timeout=60)

    assert demo.returncode == 130, said
    assert [entry.name for entry in stage.iterdir()] == [".vivr-demo"]


def test_it_does_not_touch_a_folder_that_is_not_its_own(stage: Path) -> None:
    """A folder with files of somebody else's is refused and left as it is."""
    stage.mkdir()
    (stage / "thesis.txt").write_text("years of work")
    with subprocess.Popen(["sleep", "60"], cwd=stage) as neighbour:
        demo = start_demo(stage)
        said, _ = demo.communicate(timeout=60)
        lived_on = neighbour.poll() is None
        neighbour.kill()

    assert demo.returncode == 1
    assert lived_on
    assert (stage / "thesis.txt").read_text() == "years of work"
    assert "no demo wrote" in said
