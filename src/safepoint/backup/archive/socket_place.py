"""The socket on which a pusher listens: one pusher a data directory, nobody else's, and none left behind by the dead.

Its lock is held as long as the pusher lives and dies with it; whoever holds it may remove the socket that it finds.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from safepoint import errors
from safepoint.backup.archive.wire import LONGEST_PATH

_BACKLOG = 16
_PRIVATE = 0o600
_PRIVATE_FOLDER = 0o700


@contextmanager
def listening(path: Path, owner: int) -> Generator[socket.socket]:
    """A socket that only this user, root and, where root listens, `owner` may connect to; gone afterwards.

    WL010, CF007.
    """
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise errors.CF007.error(
            f"found the socket's path {path} of {len(os.fsencode(path))} bytes, expected {LONGEST_PATH} at most",
            hints=[errors.run("name a shorter one, for the pusher and in archive_command: `--socket PATH`")],
        )
    try:
        path.parent.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        _require_alone(lock, path)
        with _bound(path, owner) as listener:
            yield listener
    finally:
        os.close(lock)


@contextmanager
def _bound(path: Path, owner: int) -> Generator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            path.unlink(missing_ok=True)
            before = os.umask(0o177)
            try:
                listener.bind(str(path))
            finally:
                os.umask(before)
            if os.geteuid() == 0:
                os.chown(path, owner, -1)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _require_alone(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise errors.WL010.error(
            f"found another pusher listening at {path}, expected none",
            hints=[errors.ask("does it run already, by another terminal or by the system?")],
        ) from None


def _unwritable(path: Path, error: OSError) -> errors.SafepointError:
    return errors.CF007.error(
        f"found that no socket can be made at {path} ({error.strerror}), expected to listen there",
        hints=[errors.run("name another place, for the pusher and in archive_command: `--socket PATH`")],
    )
