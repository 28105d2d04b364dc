"""Where the startup process of a server stands in WAL, before anybody can ask the server itself.

Until recovery is consistent nobody is let in; meanwhile the process says in its title which segment it reads. Only
descendants of the postmaster that the pid file names are looked at.
Source: PostgreSQL 15-18, src/backend/access/transam/xlogrecovery.c, XLogFileRead ("recovering %s"); proc(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from safepoint.model.lsn import Lsn, WalSegment
from safepoint.postgres.pid_file import live_pid_file

_PROCESSES = Path("/proc")
_TITLE = re.compile(r"startup recovering ([0-9A-F]{24})")


def is_position_shown() -> bool:
    """Whether this system shows the titles of processes in a place we know."""
    return (_PROCESSES / "self" / "cmdline").exists()


def segment_being_read(data: Path, segment_size: int) -> Lsn | None:
    """The start of the segment that recovery reads; None when no server runs there, or it has not begun."""
    postmaster = live_pid_file(data)
    if postmaster is None:
        return None
    return next((found for pid in _children(postmaster.pid) if (found := _position(pid, segment_size))), None)


def position_in(title: str, segment_size: int) -> Lsn | None:
    """The start of the segment that a process title names; None when it is another process's title."""
    match = _TITLE.search(title)
    return None if match is None else WalSegment.parse(match[1], segment_size).start


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):
        text = (_PROCESSES / str(pid) / "task" / str(pid) / "children").read_text()
        yield from map(int, text.split())


def _position(pid: int, segment_size: int) -> Lsn | None:
    with suppress(OSError):
        title = (_PROCESSES / str(pid) / "cmdline").read_bytes().decode(errors="replace")
        return position_in(title, segment_size)
    return None
