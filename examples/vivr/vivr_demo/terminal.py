"""Runs `safepoint` as a person at a terminal would, and keeps what was typed.

Every command's working directory lies below the stage, so that `clear_stage` finds whatever it leaves running.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

PROGRAM = Path(sys.executable).parent / "safepoint"


class CommandFailed(Exception):
    """A command of the demo did not do what it should."""


class Terminal:
    """One person's shell in `directory`; `environment` is added to what commands see."""

    def __init__(self, directory: Path, transcript: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._transcript = transcript
        self._environment = dict(environment)
        self.typed: list[str] = []

    def export(self, name: str, value: str) -> None:
        """Later commands see the variable."""
        self._environment[name] = value

    def forget(self, name: str) -> None:
        """Later commands do not see the variable."""
        self._environment.pop(name, None)

    def enter(self, directory: Path) -> None:
        """Later commands run there."""
        self._directory = directory

    def safepoint(self, *arguments: str) -> dict[str, Any]:
        """Runs `safepoint … --json` to its end and returns its JSON; CommandFailed for any other end."""
        self._type(arguments)
        began = time.monotonic()
        with self._transcript.open("a") as talk:
            done = subprocess.run(
                [PROGRAM, *arguments, "--json"],
                cwd=self._directory,
                env=self._full_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=talk,
                text=True,
                check=False,
            )
        if done.returncode:
            raise CommandFailed(f"safepoint {shlex.join(arguments)}: exit {done.returncode}\n{self._tail()}")
        print(f"    {time.monotonic() - began:.1f} s")
        return json.loads(done.stdout)

    def start(self, arguments: Sequence[str | Path], *, is_shown: bool = False) -> subprocess.Popen[bytes]:
        """Starts a program in the background; its output goes to the transcript."""
        if is_shown:
            self._type([str(argument) for argument in arguments[1:]], suffix=" &")
        return subprocess.Popen(
            arguments,
            cwd=self._directory,
            env=self._full_environment(),
            stdin=subprocess.DEVNULL,
            stdout=self._open_transcript(),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _type(self, arguments: Sequence[str], *, suffix: str = "") -> None:
        line = f"safepoint {shlex.join(arguments)}{suffix}"
        self.typed.append(line)
        print(f"  $ {line}", flush=True)

    def _full_environment(self) -> dict[str, str]:
        return {**os.environ, **self._environment}

    def _open_transcript(self) -> IO[str]:
        return self._transcript.open("a")

    def _tail(self) -> str:
        return "\n".join(self._transcript.read_text().splitlines()[-25:])
