"""A lock that the processes of this machine share, and that nobody waits for without end.

A process that was stopped keeps its `flock`: it must not stop the others, which then work without what it guards.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from pathlib import Path

PATIENCE_SECONDS = 5.0
_POLL_SECONDS = 0.02
_FILE_MODE = 0o600


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Nobody else holds the lock until the context ends; OSError where it cannot be had, or is held too long."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)
