"""Where a cluster's socket and log are: a directory private to the server's user.

It stands beside the data directory (`<data>.run`), or below the system's temporary directory when that path would be
too long for a socket or cannot be written.
Source: unix(7), sockaddr_un.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path

from safepoint import errors
from safepoint.postgres.server_user import ServerUser, can_enter, nearest_directory

LOOPBACK = "127.0.0.1"

_PREFIX = "safepoint-"
_LONGEST_SOCKET_PATH = 107  # sockaddr_un of Linux, less the closing zero
_LONGEST_SOCKET_NAME = "/.s.PGSQL.65535"


def make_run_directory(data: Path, user: ServerUser) -> Path:
    """A directory for `data` that is private to `user` and short enough; PG002 when there is no place for one."""
    beside = _beside(data)
    if _fits(beside) and (not os.path.lexists(beside) or _is_private(beside, user)):
        try:
            user.make_directory(beside)
        except OSError:
            pass  # an ordinary user may own a data directory whose parent it cannot write
        else:
            return beside
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 - mkdtemp makes a private directory
        if _fits(parent / f"{_PREFIX}12345678") and can_enter(user, nearest_directory(parent)):
            chosen = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            user.own(chosen)
            return chosen
    raise errors.PG002.error(
        f"found no place for the socket of {data}: {beside} is too long or not writable, and {user} cannot enter "
        f"{tempfile.gettempdir()}; expected a directory with a path of at most 90 bytes",
        hints=[errors.run("set TMPDIR to a short directory that everybody may enter")],
    )


def require_private(directory: Path, user: ServerUser) -> None:
    """The run directory exists and nobody but its user enters it; made anew when a cleaner took it away.

    Raises PG002 when somebody else owns it: one below the temporary directory may have been put there meanwhile.
    """
    if not os.path.lexists(directory):
        user.make_directory(directory)
    if not _is_private(directory, user):
        status = directory.lstat()
        raise errors.PG002.error(
            f"found {directory} owned by uid {status.st_uid} with mode {status.st_mode & 0o7777:o}, "
            f"expected a directory private to uid {user.uid}",
            hints=[errors.run(f"if it is not in use: `rm -r {directory}`")],
        )


def is_run_directory(directory: Path, data: Path) -> bool:
    """Whether it was made here for `data`, and is not, say, the system's own /run/postgresql."""
    return directory == _beside(data) or directory.name.startswith(_PREFIX)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _is_private(directory: Path, user: ServerUser) -> bool:
    status = directory.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == user.uid and not status.st_mode & 0o077


def _beside(data: Path) -> Path:
    return data.with_name(data.name + ".run")


def _fits(directory: Path) -> bool:
    return len(f"{directory}{_LONGEST_SOCKET_NAME}".encode()) <= _LONGEST_SOCKET_PATH
