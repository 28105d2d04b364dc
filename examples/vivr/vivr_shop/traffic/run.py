"""Runs shoppers of both versions until told to stop, in the numbers that are wanted at the moment."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .log import Log
from .shopper import Shopper
from .statements import VERSIONS

if TYPE_CHECKING:
    from pathlib import Path
    from threading import Event

TICK: Final = 0.2
SYNC_EVERY: Final = 5
GRACE: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the traffic was asked to be."""

    url_file: Path
    log: Path
    old: int = 2
    new: int = 0
    seconds: float | None = None
    rate: float = 20.0
    shoppers_file: Path | None = None


def run(settings: Settings, stop: Event) -> None:
    """The shoppers have shopped until stop was set or the time was over, and the log is complete and on disk.

    Raises what ended a shopper other than leaving (a full disk, say): then the log has no end line.
    """
    deadline = time.monotonic() + settings.seconds if settings.seconds else float("inf")
    with Log(settings.log) as log:
        crowd = _Crowd(settings, log)
        ticks = 0
        while not stop.is_set() and time.monotonic() < deadline:
            crowd.adjust(_wanted(settings))
            stop.wait(min(TICK, max(0.0, deadline - time.monotonic())))
            ticks += 1
            if ticks % SYNC_EVERY == 0:
                log.sync()
        crowd.dissolve()


def _wanted(settings: Settings) -> dict[str, int] | None:
    """Shoppers by version; None, which means as before, while the file is being rewritten."""
    if settings.shoppers_file is None or not settings.shoppers_file.exists():
        return {"old": settings.old, "new": settings.new}
    try:
        numbers: dict[str, Any] = json.loads(settings.shoppers_file.read_text(encoding="utf-8"))
        return {version: int(numbers.get(version, 0)) for version in VERSIONS}
    except (OSError, ValueError, TypeError, AttributeError):
        return None


class _Crowd:
    """Every shopper there is; each has a name of its own, never used again."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self._settings, self._log = settings, log
        self._here: dict[str, list[Shopper]] = {version: [] for version in VERSIONS}
        self._leaving: list[Shopper] = []
        self._arrivals = 0

    def adjust(self, wanted: dict[str, int] | None) -> None:
        """As many shoppers of each version shop as are wanted; raises what ended one of them unasked."""
        for version, number in (wanted or {}).items():
            here = self._here[version]
            while len(here) > max(0, number):
                self._dismiss(here.pop())
            while len(here) < number:
                here.append(self._arrival(version))
        for shopper in [*self._leaving, *(shopper for here in self._here.values() for shopper in here)]:
            if shopper.failure:
                raise shopper.failure

    def _arrival(self, version: str) -> Shopper:
        self._arrivals += 1
        settings = self._settings
        shopper = Shopper(f"{version}-{self._arrivals}", VERSIONS[version], settings.url_file, self._log, settings.rate)
        shopper.start()
        return shopper

    def _dismiss(self, shopper: Shopper) -> None:
        shopper.leave()
        self._leaving.append(shopper)

    def dissolve(self) -> None:
        """Nobody shops any more. Who still waits for an answer after the grace is cut off, and says so in the log."""
        for here in self._here.values():
            while here:
                self._dismiss(here.pop())
        until = time.monotonic() + GRACE
        for shopper in self._leaving:
            if not shopper.join(max(0.0, until - time.monotonic())):
                shopper.sever()
        for shopper in self._leaving:
            if not shopper.join(2 * GRACE):
                raise TimeoutError(f"shopper {shopper.name} did not stop; the log lacks the outcome of its last action")
        self.adjust(None)
