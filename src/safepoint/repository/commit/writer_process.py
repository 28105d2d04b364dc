"""Which process holds a lease, so exactly that this machine can later tell that it is gone.

A number of a process is used again, also after a restart. So the lease says of which boot it was, in which numbering
of processes (containers have their own), when the process started, and by which clock. A restart proves nothing: no
name of a machine is sure to be one machine's alone, clones share theirs. Linux only; elsewhere nothing is known, and
nothing proven. Sources: proc(5), random(4), pid_namespaces(7), time_namespaces(7), kill(2).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from safepoint.model.json_value import JsonObject

_PROC = Path("/proc")
_STARTED = 19
"""Field 22 of /proc/<pid>/stat, counted from behind the name of the program, which may hold anything."""
_NUMBERS = "NSpid:"
_ONE_NUMBER = 2
"""Words of that line of /proc/self/status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterProcess:
    """A process; what could not be found out is None.

    `namespace` is that of its pid, `clock` that of `started`, which is in clock ticks since the machine's start.
    """

    pid: int
    boot: str | None = None
    namespace: str | None = None
    started: int | None = None
    clock: str | None = None

    def to_facts(self) -> JsonObject:
        """What a lease says of it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def this_process() -> WriterProcess:
    """The one that asks."""
    pid = os.getpid()
    return WriterProcess(
        pid=pid, boot=_boot(), namespace=_namespace("pid"), started=_started(pid), clock=_namespace("time")
    )


def process_of(facts: object) -> WriterProcess | None:
    """What `to_facts` made; None for anything else."""
    if not isinstance(facts, dict):
        return None
    found = cast("dict[str, Any]", facts)
    texts = {name: found[name] for name in ("boot", "namespace", "clock") if isinstance(found.get(name), str)}
    numbers = {name: found[name] for name in ("pid", "started") if type(found.get(name)) is int}
    return WriterProcess(**texts, **numbers) if "pid" in numbers else None


def why_gone(process: WriterProcess) -> str | None:
    """How it is proven here that the process does not run any more; None when it does, or may."""
    if None in {process.boot, process.namespace} or process.pid <= 0:
        return None
    if (process.boot, process.namespace) != (_boot(), _namespace("pid")):
        return None
    if not _is_there(process.pid):
        return f"no process {process.pid} runs on this machine, which was not restarted since"
    now = _started(process.pid)
    if now is None or process.started is None or process.clock != _namespace("time") or now <= process.started:
        return None
    return f"process {process.pid} of this machine is another one, which started later"


def _is_there(pid: int) -> bool:
    """Whether a process has this number, whoever may see it: /proc hides those of other users where it is told to."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _boot() -> str | None:
    return _text(_PROC / "sys/kernel/random/boot_id")


def _namespace(kind: str) -> str | None:
    try:
        return os.readlink(_PROC / "self/ns" / kind)  # noqa: PTH115 - what it names is no path
    except OSError:
        return None


def _started(pid: int) -> int | None:
    """None too where /proc is another container's: its numbers are not those that this process knows."""
    stat = _text(_PROC / str(pid) / "stat") if _counts_as_here() else None
    behind_name = stat.rpartition(")")[2].split() if stat else []
    return int(behind_name[_STARTED]) if len(behind_name) > _STARTED else None


def _counts_as_here() -> bool:
    """Whether /proc has this process under one number: under one more for each namespace between it and /proc's."""
    lines = (_text(_PROC / "self/status") or "").splitlines()
    return any(len(line.split()) == _ONE_NUMBER for line in lines if line.startswith(_NUMBERS))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None
