"""`safepoint-wal push FILE` where there was no C compiler: asks the resident pusher, does the work itself without one.

The program that PostgreSQL runs as its archive_command, in the data directory. `safepoint_wal.c` is the same in a tenth
of the time. Exit code 0: the file is durable. 1: it is not, and PostgreSQL tries again; the reason is on stderr. Above
125, or by a signal, PostgreSQL's archiver itself would end (src/backend/postmaster/pgarch.c).

Nothing but the standard library is imported before the pusher was asked.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from safepoint.backup.archive.wire import GREETING, NO, OK, SILENCE_SECONDS, WAIT, is_trusted, socket_path

_RETRY = 1
_USAGE = "usage: safepoint-wal push FILE [--socket PATH] [--database NAME] [--config FILE]"
_CHUNK = 65536


def main() -> NoReturn:
    """Exits as said above, or becomes `safepoint wal push` with the same arguments."""
    arguments = sys.argv[1:]
    if len(arguments) < 2 or arguments[0] != "push" or arguments[1].startswith("-"):  # noqa: PLR2004 - a verb, a file
        _end(_USAGE)
    try:
        answer = ask(Path(arguments[1]), _socket_in(arguments))
    except OSError as error:
        _end(f"safepoint-wal: {arguments[1]}: {error.strerror or error}")
    if answer is None:
        _work_inline(arguments)
    if answer.endswith(OK) and not answer.removesuffix(OK).replace(WAIT, b""):
        sys.exit(0)
    _, found, reason = answer.partition(NO)
    said = reason.decode(errors="replace").strip() if found else "the pusher went away before it had answered"
    _end(f"safepoint-wal: {said}")


def ask(file: Path, named: str | None) -> bytes | None:
    """What the pusher answers, whole or as far as it came; None when there is none to be trusted. OSError."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SILENCE_SECONDS)
            try:
                connection.connect(str(socket_path(Path(), named)))
            except OSError:
                return None
            if not is_trusted(connection):
                return None
            return _answer(connection, file.name, descriptor)
    finally:
        os.close(descriptor)


def _answer(connection: socket.socket, name: str, descriptor: int) -> bytes:
    answer = b""
    try:
        socket.send_fds(connection, [GREETING + os.fsencode(name) + b"\n"], [descriptor])
        while chunk := connection.recv(_CHUNK):
            answer += chunk
    except OSError:  # it is gone, or deaf: what it said so far decides
        return answer
    return answer


def _socket_in(arguments: list[str]) -> str | None:
    for at, argument in enumerate(arguments):
        if argument == "--socket" and at + 1 < len(arguments):
            return arguments[at + 1]
        if argument.startswith("--socket="):
            return argument.removeprefix("--socket=")
    return None


def _work_inline(arguments: list[str]) -> NoReturn:
    """This process becomes `safepoint wal push`, by the interpreter that runs it."""
    program = [sys.executable, "-c", "from safepoint.cli import main; main()", "wal", *arguments]
    try:
        os.execv(program[0], program)  # noqa: S606 - no shell is wanted
    except OSError as error:
        _end(f"safepoint-wal: cannot start safepoint: {error.strerror}")


def _end(reason: str) -> NoReturn:
    sys.stderr.write(f"{reason}\n")
    sys.exit(_RETRY)


if __name__ == "__main__":
    main()
