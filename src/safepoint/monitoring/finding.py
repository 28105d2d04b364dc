"""What a check says. unknown is not good news: a state that could not be checked is never shown as good."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """good was proven, bad was proven, unknown was neither; a notice is bad news that nothing can mend: no alarm."""

    GOOD = "good"
    NOTICE = "notice"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of `safepoint status`: the fact, and what to do about it when it is not good."""

    check: str
    state: State
    fact: str
    cure: str = ""
