"""The entry point: runs a command and turns whatever it raises into words and an exit code.

Only what this needs is imported at the top: Ctrl-C while the rest is being imported is an interruption like any other,
and `--version` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import suppress
from types import FrameType
from typing import NoReturn, TextIO

from safepoint import errors
from safepoint.errors import ExitCode, SafepointError


def main() -> NoReturn:
    """Runs the command line and exits with a code of `ExitCode`; a traceback is shown only with SAFEPOINT_DEBUG set.

    SIGTERM is Ctrl-C. The first of either interrupts; until the process has tidied up, more of them are told and
    otherwise ignored, so that no server, session or temporary file is left behind by an impatient second one.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        code = _run()
    except SafepointError as error:
        _show(error)
        code = error.spec.exit_code
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last wall: whatever comes here is ours to explain
        code = _code_of_surprise(error)
    if code == ExitCode.INTERRUPTED:
        _say("interrupted; the same command, run again, goes on or begins afresh")
    _close(sys.stdout)
    _close(sys.stderr)
    sys.exit(code)


def _run() -> int:
    from safepoint.cli.app import app  # noqa: PLC0415 - see the head of this module

    code = app(standalone_mode=False)
    return code if isinstance(code, int) else ExitCode.OK


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ask_for_patience)
    raise KeyboardInterrupt


def _ask_for_patience(_signal: int, _frame: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, b"interrupted already; tidying up\n")


def _code_of_surprise(error: Exception) -> ExitCode:
    show = getattr(error, "show", None)
    if show is not None and hasattr(error, "exit_code"):  # typer's own usage errors
        show()
        return ExitCode.USAGE
    if os.environ.get("SAFEPOINT_DEBUG"):
        traceback.print_exception(error)
    bug = errors.IN001.error(
        f"found {type(error).__name__}: {error}, expected none",
        changed="it is not known whether anything was changed",
        hints=[errors.run("run it again with SAFEPOINT_DEBUG=1 and report the traceback")],
    )
    _show(bug)
    return ExitCode.BUG


def _show(error: SafepointError) -> None:
    from safepoint.cli.show import show_error  # noqa: PLC0415 - see the head of this module

    show_error(error, is_json="--json" in sys.argv)


def _say(line: str) -> None:
    with suppress(OSError):
        sys.stderr.write(f"{line}\n")


def _close(stream: TextIO) -> None:
    """Nothing is left to be written at exit, where a reader that has gone would be a traceback."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
