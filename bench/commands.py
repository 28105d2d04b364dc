"""Commands as users run them, measured from start to end: the interpreter's start and the opening of files included."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.measure import Outcome, settle

_LAST_WORDS = 3000


class MissingTool(Exception):
    """A program that a row needs is not on this machine."""


def measured(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Outcome:
    """What it took; its fact `said` is its standard output. RuntimeError with its words when it fails.

    Seconds are from start to end. CPU seconds and the peak of memory are those of the process, its threads included,
    and of the children it waited for; work of a server on its behalf is not among them.
    """
    settle()
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as talk:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=talk,
            env={**os.environ, **(environment or {})},
            cwd=folder,
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        for stream in (said, talk):
            stream.seek(0)
        if process.returncode != 0:
            words = (talk.read() + said.read())[-_LAST_WORDS:]
            raise RuntimeError(f"found exit code {process.returncode} of {_short(command)}, expected 0:\n{words}")
        facts = {"said": said.read()}
    cpu_seconds = used.ru_utime + used.ru_stime
    return Outcome(seconds=seconds, cpu_seconds=cpu_seconds, peak_bytes=used.ru_maxrss * 1024, facts=facts)


def _short(command: Sequence[str | Path]) -> str:
    return " ".join([Path(command[0]).name, *(str(part) for part in command[1:3])])
