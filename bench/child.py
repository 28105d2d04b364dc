"""One task in a process of its own: `python -m bench.child TASK`, arguments as JSON on stdin, the outcome on stdout.

With BENCH_PROFILE=FILE in the environment the task runs under cProfile, which writes FILE: what the caller's thread
did, and for how long it waited for others.
"""

from __future__ import annotations

import cProfile
import json
import os
import re
import resource
import sys
from dataclasses import asdict
from pathlib import Path

from bench.measure import Outcome
from bench.stopwatch import Stopwatch
from bench.tasks import TASKS

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_USAGE = "usage: python -m bench.child TASK, with arguments as JSON on stdin\n"


def main() -> int:
    """0 with the outcome on stdout; 2 for a task that there is not."""
    name = sys.argv[1] if len(sys.argv) == 2 else ""  # noqa: PLR2004 - the program and the task
    if name not in TASKS:
        sys.stderr.write(f"{_USAGE}tasks: {' '.join(sorted(TASKS))}\n")
        return 2
    watch = Stopwatch()
    profile = os.environ.get("BENCH_PROFILE")
    arguments = json.load(sys.stdin)
    if profile:
        profiler = cProfile.Profile()
        facts = profiler.runcall(TASKS[name], arguments, watch)
        profiler.dump_stats(profile)
    else:
        facts = TASKS[name](arguments, watch)
    outcome = Outcome(seconds=watch.seconds, cpu_seconds=watch.cpu_seconds, peak_bytes=_peak_bytes(), facts=dict(facts))
    json.dump(asdict(outcome), sys.stdout)
    return 0


def _peak_bytes() -> int:
    """Of this process since it began, and the largest child's with it.

    proc(5), VmHWM. Not ru_maxrss of the process itself: that counts the parent's memory from before exec, too.
    """
    found = _PEAK.search(Path("/proc/self/status").read_text())
    own = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024


if __name__ == "__main__":
    sys.exit(main())
