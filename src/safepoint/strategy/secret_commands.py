"""Secrets that a command prints, as a password manager's does: run without a shell, within a deadline."""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from safepoint import errors


def output_of(command: str, base: Path, environment: Mapping[str, str], timeout: float, *, longest: int) -> str:
    """What the command prints when it is run in the folder `base`, without a shell, and exits with 0; CF003.

    What it writes to stderr is not ours to show, for it may hold the secret too. At most `longest` bytes are read.
    """
    arguments = shlex.split(command)
    output, failure = b"", ""
    try:
        with subprocess.Popen(
            arguments,
            cwd=base,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                output = _output_of(process, time.monotonic() + timeout, longest)
            except subprocess.TimeoutExpired:
                process.kill()
                failure = f"no end of `{command}` within {timeout:g} seconds"
            except _EndlessError:
                process.kill()
                failure = f"no end to the output of `{command}` after {longest} bytes"
    except (OSError, ValueError) as error:
        failure = f"that `{command}` cannot be run ({_why(error)})"
    else:
        failure = failure or _bad_end(command, process.returncode)
    if failure:
        raise _command_failed(f"found {failure}, expected it to print the secret and exit 0", command)
    return _decoded(output, command)


class _EndlessError(Exception):
    """More was written than a secret can be."""


def _output_of(process: subprocess.Popen[bytes], deadline: float, longest: int) -> bytes:
    """All of it, once the process has ended; TimeoutExpired at the deadline (monotonic)."""
    output = bytearray()
    assert process.stdout is not None  # noqa: S101 - it was opened with a pipe
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise subprocess.TimeoutExpired(process.args, 0)
            part = os.read(process.stdout.fileno(), longest)
            if not part:
                process.wait(max(0.0, deadline - time.monotonic()))
                return bytes(output)
            output += part
            if len(output) > longest:
                raise _EndlessError


def _why(error: OSError | ValueError) -> str:
    return os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error).lower()


def _bad_end(command: str, returncode: int) -> str:
    if returncode < 0:
        return f"`{command}` ended by {signal.Signals(-returncode).name}"
    return f"exit code {returncode} of `{command}`" if returncode else ""


def _decoded(output: bytes, command: str) -> str:
    try:
        return output.decode()
    except UnicodeDecodeError:
        pass
    raise _command_failed(f"found bytes that are no UTF-8 in the output of `{command}`, expected text", command)


def _command_failed(message: str, command: str) -> errors.SafepointError:
    return errors.CF003.error(
        message,
        hints=[
            errors.ask("does it need a login, a terminal or a shell's syntax? it is run without a shell"),
            errors.run(f"try it by hand, in the folder of the strategy file: `{command}`"),
        ],
    )
