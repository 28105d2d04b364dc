"""Timeline history files: which timelines a timeline descends from, and where each was left.

Source: PostgreSQL 17, src/backend/access/transam/timeline.c, readTimeLineHistory.
"""

from __future__ import annotations

from dataclasses import dataclass

from safepoint.model.lsn import Lsn, TimelineId


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """A timeline of which the bytes before `switch` belong to the descendant's history."""

    timeline: TimelineId
    switch: Lsn


def parse_history(content: bytes) -> tuple[Ancestor, ...]:
    """The ancestors, oldest first; ValueError for a line that is none or out of order."""
    ancestors: list[Ancestor] = []
    for line in content.decode().splitlines():
        fields = line.split("#", 1)[0].split(None, 2)
        if not fields:
            continue
        ancestor = _ancestor(line, fields)
        if ancestors and ancestor.timeline <= ancestors[-1].timeline:
            raise ValueError(f"found timeline {ancestor.timeline} after {ancestors[-1].timeline}, expected a later one")
        ancestors.append(ancestor)
    return tuple(ancestors)


def _ancestor(line: str, fields: list[str]) -> Ancestor:
    try:
        return Ancestor(timeline=TimelineId(int(fields[0])), switch=Lsn.parse(fields[1]))
    except (IndexError, ValueError) as error:
        raise ValueError(f"found the history line {line!r}, expected a timeline and the LSN of its end") from error
