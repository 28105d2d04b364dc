"""The shell itself: usage, exit codes, signals, readers that go away, talk that keeps coming."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from safepoint.cli.narrate import narrated
from safepoint.cli.options import EXIT_STATUS
from safepoint.errors import ExitCode
from safepoint.steps.execute import Progress
from safepoint.steps.plan import Step
from shell import PROGRAM, Shell, shell_in


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """In a folder with nothing in it."""
    return shell_in(tmp_path / "project")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["bakup"], "Did you mean 'backup'?"),
        (["restore", "--to", "latest"], "Missing option '--into'"),
        (["backup", "--frobnicate"], "No such option"),
        (["wal", "stream", "--ship-every", "0"], "0.1"),
        (["wal"], "stream"),
    ],
)
def test_wrong_usage(shell: Shell, arguments: list[str], complaint: str) -> None:
    """What cannot be parsed ends with 2, a word on what is wrong, and nothing on stdout that could pass for data."""
    said = shell.safepoint(*arguments, ends=ExitCode.USAGE)
    assert complaint in said.err + said.out
    assert "IN001" not in said.err


def test_exit_status_names_every_code() -> None:
    """The table under each command's help has every exit code that there is."""
    named = {int(word) for word in EXIT_STATUS.split() if word.isdigit()}
    assert named == {int(code) for code in ExitCode}


def test_version_needs_nothing_heavy(shell: Shell) -> None:
    """`--version` loads neither psycopg nor pydantic nor the parser, so that it answers at once."""
    code = "import sys; from safepoint.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    with shell.begun("--version", program=(sys.executable, "-c", code)) as process:
        out, err = process.communicate()
    assert out.startswith("safepoint ")
    assert not {"psycopg", "pydantic", "postgast", "rich.console"} & set(err.split())


def test_no_strategy_file(shell: Shell) -> None:
    """A command without a strategy file ends with 11, says where it looked and that nothing was changed."""
    said = shell.safepoint("status", ends=ExitCode.MISCONFIGURED)
    assert said.err.startswith(f"error CF002: found no safepoint.toml in {shell.folder} or above, expected one\n")
    assert "nothing was changed\n" in said.err


def test_a_bug_is_called_one(shell: Shell) -> None:
    """An exception that is no error of the registry ends with 70 and asks for the traceback, without showing one."""
    code = (
        "import safepoint.workflows.project as project\n"
        "def load_strategy(path, **_): raise ZeroDivisionError('of ours')\n"
        "project.load_strategy = load_strategy\n"
        "from safepoint.cli import main; main()"
    )
    shell.write("safepoint.toml", "")
    with shell.begun("status", program=(sys.executable, "-c", code)) as process:
        _, err = process.communicate()
    assert process.returncode == ExitCode.BUG
    assert err.startswith("error IN001: found ZeroDivisionError: of ours, expected none\n")
    assert "Traceback" not in err


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_reader_that_goes_away_is_no_matter(shell: Shell, stream: str) -> None:
    """With stdout or stderr closed at the other end a command goes on in silence to its true exit code."""
    reading, writing = os.pipe()
    os.close(reading)
    shell.write("safepoint.toml", '[database.shop]\nurl = "env:ABSENT"\n')
    process = subprocess.Popen(
        [PROGRAM, "status"],
        cwd=shell.folder,
        env=dict(shell.environment),
        text=True,
        stdout=writing if stream == "stdout" else subprocess.PIPE,
        stderr=writing if stream == "stderr" else subprocess.PIPE,
    )
    os.close(writing)
    out, err = process.communicate(timeout=30)
    assert process.returncode == ExitCode.ATTENTION
    assert "Traceback" not in (err or "") + (out or "")
    assert not (err or "").strip()


def test_progress_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """A long step says, every so often and in whole lines, how much is done, how fast, and what is left."""
    step = Step(name="copy", action="x", title="copy the files")
    with narrated(every=0.05) as observer:
        observer.step_started(step)
        time.sleep(1.15)
        observer.step_progressed(step, Progress(done=50, total=100, unit="files"))
        time.sleep(0.2)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("  … copy the files: 1s")
    assert lines[-1].startswith("  … copy the files: 50 files of 100, ")
    assert " files/s, " in lines[-1]
    assert lines[-1].endswith("s left")
