"""Eventual repositories, filled from a required one behind the answers: an outage of theirs delays nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from safepoint.backup.refill import refill
from safepoint.errors import SafepointError
from safepoint.repository import Repository

_PAUSE_SECONDS = 10.0


def keep_refilled(
    source: Repository,
    targets: Sequence[Repository],
    cluster: str,
    *,
    stop: threading.Event,
    troubled: Callable[[SafepointError], None],
    seconds: float = _PAUSE_SECONDS,
) -> None:
    """Until `stop` is set the targets get what the source has; what they lack then, the next run brings."""
    while not stop.wait(seconds):
        for target in targets:
            try:
                refill(source, target, cluster, may_go_on=lambda: not stop.is_set())
                target.flush_journal()
            except SafepointError as error:
                troubled(error)
