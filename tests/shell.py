"""safepoint as a person at a terminal has it: a folder, an environment, commands, what they say and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from safepoint.errors import ExitCode

PATIENCE_SECONDS = 60.0
PROGRAM = Path(sys.executable).with_name("safepoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command wrote, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """All of stdout, which must be one JSON value."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The code of the error that ended it."""
        line = next(line for line in self.err.splitlines() if line.startswith("error "))
        return line.split()[1].rstrip(":")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """Where commands are typed."""

    folder: Path
    environment: Mapping[str, str]

    def safepoint(self, *arguments: str, ends: int = ExitCode.OK) -> Said:
        """Runs a command, which must end with that exit code."""
        with self.begun(*arguments) as process:
            said = ended(process)
        assert said.code == ends, f"safepoint {' '.join(arguments)} ended with {said.code}\n{said.out}\n{said.err}"
        return said

    @contextmanager
    def begun(self, *arguments: str, program: tuple[str, ...] = (str(PROGRAM),)) -> Generator[subprocess.Popen[str]]:
        """A command under way; killed at the end if it is still there."""
        process = subprocess.Popen(
            [*program, *arguments],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def knowing(self, **variables: str | None) -> Shell:
        """The same shell with other variables; None takes one away."""
        changed = {**self.environment, **variables}
        return replace(self, environment={name: value for name, value in changed.items() if value is not None})

    def write(self, name: str, text: str) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


def shell_in(folder: Path, **variables: str) -> Shell:
    """A shell in a fresh folder, whose environment names nothing of safepoint's or PostgreSQL's but these variables."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    beside = {
        "SAFEPOINT_STATE": str(folder.parent / f"{folder.name}.state"),
        "XDG_STATE_HOME": str(folder.parent / f"{folder.name}.state"),
        "XDG_CACHE_HOME": str(folder.parent / f"{folder.name}.cache"),
    }
    return Shell(folder=folder, environment={**kept, **beside, "COLUMNS": "100", **variables})


def ended(process: subprocess.Popen[str]) -> Said:
    """What the process said, once it has ended by itself."""
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return Said(code=process.returncode, out=out, err=err)


def interrupted(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> Said:
    """What it said after a signal."""
    process.send_signal(number)
    return ended(process)


def wait_for_line(process: subprocess.Popen[str], beginning: str) -> None:
    """Reads stderr up to a line that begins so."""
    assert process.stderr is not None
    deadline = time.monotonic() + PATIENCE_SECONDS
    for line in process.stderr:
        if line.startswith(beginning):
            return
        assert time.monotonic() < deadline
    raise AssertionError(f"the command ended without a line {beginning!r}")


def fingerprint(*places: Path) -> dict[str, str]:
    """Every file below the places, with a digest of its content."""
    files = (path for place in places for path in sorted(place.rglob("*")) if path.is_file())
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in files}
