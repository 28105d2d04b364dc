"""The entry point: runs a command and turns whatever it raises into words and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import FrameType
from typing import NoReturn

from safepoint import errors
from safepoint.cli.app import app
from safepoint.cli.show import show_error
from safepoint.errors import ExitCode, SafepointError


def main() -> NoReturn:
    """Runs the command line and exits with a code of `ExitCode`; a traceback is shown only with SAFEPOINT_DEBUG set."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = app(standalone_mode=False)
    except SafepointError as error:
        show_error(error, is_json="--json" in sys.argv)
        sys.exit(error.spec.exit_code)
    except (KeyboardInterrupt, EOFError):
        print("interrupted", file=sys.stderr)  # noqa: T201 - the shell speaks
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.OK)
    except Exception as error:  # noqa: BLE001 - the last wall: whatever comes here is ours to explain
        _exit_on_surprise(error)
    sys.exit(code if isinstance(code, int) else ExitCode.OK)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _exit_on_surprise(error: Exception) -> NoReturn:
    show = getattr(error, "show", None)
    if show is not None and hasattr(error, "exit_code"):  # click's own usage errors
        show()
        sys.exit(ExitCode.USAGE)
    if os.environ.get("SAFEPOINT_DEBUG"):
        traceback.print_exception(error)
    bug = errors.IN001.error(
        f"found {type(error).__name__}: {error}, expected none",
        changed="it is not known whether anything was changed",
        hints=[errors.run("run it again with SAFEPOINT_DEBUG=1 and report the traceback")],
    )
    show_error(bug, is_json="--json" in sys.argv)
    sys.exit(ExitCode.BUG)
