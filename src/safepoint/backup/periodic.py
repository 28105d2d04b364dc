"""Small work done again and again in a thread of its own, so that nothing else ever waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from safepoint.backup.receiver_state import ReceiverObserver
from safepoint.errors import SafepointError


class Periodic:
    """Calls `work` at once and then every `seconds`. What it raises is told when it is news, and never ends it."""

    def __init__(self, work: Callable[[], None], *, seconds: float, observer: ReceiverObserver) -> None:
        self._work = work
        self._seconds = seconds
        self._observer = observer
        self._stop = threading.Event()
        self._told = ""
        self._thread = threading.Thread(target=self._run, name="wal upkeep", daemon=True)

    def start(self) -> None:
        """The thread runs."""
        self._thread.start()

    def stop(self, patience: float = 5.0) -> None:
        """No more calls begin; one that runs is waited for a little."""
        self._stop.set()
        self._thread.join(patience)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.turn()
            self._stop.wait(self._seconds)

    def turn(self) -> None:
        """One call."""
        try:
            self._work()
        except SafepointError as error:
            if error.message != self._told:
                self._observer.troubled(error)
            self._told = error.message
        else:
            self._told = ""
