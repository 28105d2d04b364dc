"""What `safepoint-wal` and the resident pusher say to each other, and where they meet.

The helper sends one line, `1 push NAME`, and with its first byte the open file that PostgreSQL named. The pusher sends
`wait` lines while it works, then `ok`, or `no` and the reason in words, and closes. Whatever is not a whole `ok` line
is no acknowledgement. `safepoint_wal.c` speaks the same; change both.

Nothing but the standard library is imported here: the helper is started once for every segment.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
from pathlib import Path

SOCKET_VARIABLE = "SAFEPOINT_WAL_SOCKET"
GREETING = b"1 push "
WAIT, OK, NO = b"wait\n", b"ok\n", b"no\n"
WAIT_SECONDS = 5.0
SILENCE_SECONDS = 30.0
"""How long the helper waits for a sign of life before it tells PostgreSQL to try again."""

LONGEST_PATH = 100
"""Bytes of a socket's path: 104 with its end on macOS, 108 on Linux (unix(7))."""

_CREDENTIALS = struct.Struct("3i")


def socket_path(data: Path, named: str | None = None) -> Path:
    """Where the pusher of this data directory listens: as named, else by the environment, else in the user's state.

    By the directory's identity, so that a link leads to the same socket and a copy of the directory to another.
    """
    stated = named or os.environ.get(SOCKET_VARIABLE)
    if stated:
        return Path(stated)
    status = os.stat(data)  # noqa: PTH116 - pathlib is enough for everybody else
    return _state_directory() / "wal" / f"{status.st_dev:x}-{status.st_ino:x}.sock"


def is_trusted(connection: socket.socket, *others: int) -> bool:
    """Whether at the other end is this user, root or one of these; where nobody tells, the socket's folder decides."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return uid in {os.geteuid(), 0, *others}


def _state_directory() -> Path:
    """As `workflows.places.state_directory`, and as the helper in C."""
    environment = os.environ
    if stated := environment.get("SAFEPOINT_STATE"):
        return Path(stated)
    base = environment.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):  # noqa: PTH117 - it is text that may be empty
        return Path(base) / "safepoint"
    home = environment.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir
    return Path(home) / ".local/state/safepoint"
