"""The entry point: runs a command and turns whatever it raises into words and an exit code.

Only what this needs is imported at the top: Ctrl-C while the rest is being imported is an interruption like any other,
and `--version` answers at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from safepoint import errors
from safepoint.cli.streams import Streams, keep_streams
from safepoint.errors import ExitCode, SafepointError

_INTERRUPTED = "interrupted; the same command, run again, goes on or begins afresh"
_UNWRITTEN = "found that stdout cannot be written ({}), expected to tell all; what the command did is done"
_CHANGED = {
    "usage": errors.NOTHING_CHANGED,
    "interrupted": "what was done so far may stay",
    "unwritten": "what the command did is done",
}


def main() -> NoReturn:
    """Runs the command line and exits with a code of `ExitCode`; a traceback is shown only with SAFEPOINT_DEBUG set.

    SIGTERM is Ctrl-C. The first of either interrupts; until the process has tidied up, more of them are told and
    otherwise ignored, so that no server, session or temporary file is left behind by an impatient second one.

    What cannot be told does not change what is done: with stdout or stderr closed, or its reader gone, the code is that
    of the deed. Data that was lost on the way (a full disk) makes a success UNWRITTEN; any other end keeps its code.
    """
    streams = keep_streams()
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
        _show_end("interrupted", ExitCode.INTERRUPTED, _INTERRUPTED)
    sys.exit(_told(code, streams))


def _run() -> int:
    from safepoint.cli.push import pushed  # noqa: PLC0415 - see the head of this module

    if (code := pushed(sys.argv[1:])) is not None:
        return code
    from safepoint.cli.app import app  # noqa: PLC0415

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
        if _is_json():
            _show_end("usage", ExitCode.USAGE, str(error))
        return ExitCode.USAGE
    if os.environ.get("SAFEPOINT_DEBUG"):
        import traceback  # noqa: PLC0415 - see the head of this module

        traceback.print_exception(error)
    bug = errors.IN001.error(
        f"found {type(error).__name__}: {error}, expected none",
        changed="it is not known whether anything was changed",
        hints=[errors.run("run it again with SAFEPOINT_DEBUG=1 and report the traceback")],
    )
    _show(bug)
    return ExitCode.BUG


def _told(code: int, streams: Streams) -> int:
    """The exit code, once all is written that can be."""
    try:
        lost = streams.lost()
        if lost is None:
            return code
        end = ExitCode.UNWRITTEN if code == ExitCode.OK else ExitCode(code)
        _show_end("unwritten", end, _UNWRITTEN.format((lost.strerror or str(lost)).lower()))
        streams.lost()
    except KeyboardInterrupt:  # the reader is slow, and nobody waits for it any more
        os._exit(ExitCode.INTERRUPTED)
    return end


def _show(error: SafepointError) -> None:
    from safepoint.cli.show import show_error  # noqa: PLC0415 - see the head of this module

    show_error(error, is_json=_is_json())


def _show_end(what: str, code: ExitCode, message: str) -> None:
    """An end that is no error of the registry: a line; for programs one like an error's."""
    changed = _CHANGED[what]
    end = {"error": what, "family": what, "exit_code": int(code), "is_retryable": code == ExitCode.INTERRUPTED}
    line = json.dumps({**end, "message": message, "changed": changed, "hints": []}) if _is_json() else message
    sys.stderr.write(f"{line}\n")


def _is_json() -> bool:
    """As typed: what cannot be parsed fails in the way that was asked for, too."""
    return "--json" in sys.argv
