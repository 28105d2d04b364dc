"""How long shoppers waited: from the first request that was not answered well to the answer that was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from .records import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """One shopper's wait: a single slow request, or failures and retries until one succeeded."""

    shopper: str
    began: datetime
    ended: datetime
    is_over: bool
    """False where the shopper's last line in the log is still a failure."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.ended - self.began).total_seconds()


def stalls_of(answers: Iterable[Answer]) -> list[Stall]:
    """Every wait of every shopper; the time a shopper spends between two requests is not waiting."""
    stalls: list[Stall] = []
    waiting: dict[str, Stall] = {}
    for answer in answers:
        before = waiting.pop(answer.shopper, None)
        stall = Stall(
            shopper=answer.shopper,
            began=before.began if before else answer.began,
            ended=answer.at,
            is_over=answer.is_success,
        )
        if answer.is_success:
            stalls.append(stall)
        else:
            waiting[answer.shopper] = stall
    return [*stalls, *waiting.values()]
