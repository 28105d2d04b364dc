"""How a command that runs until it is told to stop is told."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

from safepoint.errors import ExitCode


def stop_on_signals(stop: threading.Event) -> None:
    """The first SIGTERM or SIGINT sets `stop`; another one ends the process."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            sys.exit(ExitCode.INTERRUPTED)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
