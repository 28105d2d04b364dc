"""postmaster.pid: who runs on a data directory, where it listens.

Source: PostgreSQL 17, src/include/utils/pidfile.h.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_LINES_WHEN_LISTENING = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PidFile:
    """What a postmaster wrote of itself. Port and socket directory are None until it listens."""

    pid: int
    port: int | None
    socket_directory: Path | None
    listen_address: str | None
    status: str | None


def live_pid_file(data: Path) -> PidFile | None:
    """The pid file of the postmaster that runs on `data` now; None when none does.

    A process that stands elsewhere than in the data directory is not its postmaster but one that got the same
    number after a crash or a restart of the machine.
    """
    found = _read(data / "postmaster.pid")
    return found if found is not None and _is_alive(found.pid) and _stands_in(found.pid, data) else None


def _read(path: Path) -> PidFile | None:
    try:
        lines = path.read_text(errors="replace").splitlines()
        # A standalone backend writes its process id negated; it holds the directory all the same.
        pid = abs(int(lines[0]))
    except (OSError, ValueError, IndexError):
        return None
    lines += [""] * (_LINES_WHEN_LISTENING - len(lines))
    return PidFile(
        pid=pid,
        port=int(lines[3]) if lines[3].isdigit() else None,
        socket_directory=Path(lines[4]) if lines[4] else None,
        listen_address=lines[5] or None,
        status=lines[7].strip() or None,
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """A killed postmaster whose parent never asks, as in containers without an init process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "Z"


def _stands_in(pid: int, data: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").samefile(data)
    except OSError:
        # Another user's process, or no /proc: alive is all that can be known, and the careful answer.
        return True
