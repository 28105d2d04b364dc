"""How far a long piece of work is, for whoever shows it: as a step of a plan tells it."""

from __future__ import annotations

from collections.abc import Callable

from safepoint.steps.execute import Progress

__all__ = ["Progress", "Report", "no_report"]

Report = Callable[[Progress], None]


def no_report(_: Progress) -> None:
    """For callers who do not want to know."""
