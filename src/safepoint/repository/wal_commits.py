"""The commits of a piece of WAL, as the facts of its object have them.

    null                                                     none was found
    {"first": {"lsn", "time"}, "last": {"lsn", "time"}, "latest": time}

First and last by position, `latest` the greatest time, since clocks go back. An object that was stored before this was
noted has no such fact: unknown. Found while the piece is prepared, from the bytes that are stored (ADR 16).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from safepoint.kernel import Buffer, commits_in
from safepoint.model.coverage import Commit, Commits
from safepoint.model.json_value import Json
from safepoint.model.lsn import Lsn

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""That of PostgreSQL's timestamps (src/include/datatype/timestamp.h)."""


def commits_fact(data: Buffer, start: Lsn) -> Json:
    """What is noted of WAL that begins at `start`; null, too, of times that no calendar has."""
    found = commits_in(data, start.value)
    if found is None:
        return None
    try:
        return {
            "first": {"lsn": str(Lsn(found.first_end)), "time": _time(found.first_time)},
            "last": {"lsn": str(Lsn(found.last_end)), "time": _time(found.last_time)},
            "latest": _time(found.latest),
        }
    except OverflowError:
        return None


def commits_of(fact: Any) -> Commits | None:
    """What was noted; KeyError, TypeError, ValueError or OverflowError when that is something else."""
    if fact is None:
        return None
    found = Commits(first=_commit(fact["first"]), last=_commit(fact["last"]), latest=_instant(fact["latest"]))
    if found.first.lsn > found.last.lsn or found.latest < max(found.first.time, found.last.time):
        raise ValueError(f"found {found}, expected commits in the order of WAL and the latest of their times")
    return found


def _commit(fact: Any) -> Commit:
    return Commit(lsn=Lsn.parse(fact["lsn"]), time=_instant(fact["time"]))


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"found the time {text}, expected a zone with it")
    return found


def _time(microseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()
