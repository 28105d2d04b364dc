"""What `status` says of a repository: bad when it does not open or is damaged, good only when looked at lately."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from safepoint.monitoring.checks import repository
from safepoint.monitoring.finding import State
from safepoint.monitoring.situation import RepositorySeen, Situation

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WELL = RepositorySeen(objects=12, verified=9, verified_at=NOW - timedelta(hours=1), checked_at=NOW - timedelta(hours=2))
LONG_AGO = NOW - repository.OLDEST - timedelta(seconds=1)


def situation(seen: RepositorySeen | None) -> Situation:
    """Of a database of which nothing else is known."""
    return Situation(
        database="shop",
        now=NOW,
        rpo=None,
        tier=None,
        server=None,
        server_obstacle="",
        is_server_down=False,
        has_repository=seen is not None,
        repository_obstacle="",
        cluster=None,
        backups=(),
        wal=None,
        migrations=(),
        repository=seen,
    )


@pytest.mark.parametrize(
    ("seen", "state", "fact", "cure"),
    [
        (WELL, State.GOOD, "checked 2h 00m ago; 9 of 12 objects verified so far, the last 1h 00m ago", ""),
        (RepositorySeen(), State.UNKNOWN, "its structure was never checked", "check`"),
        (replace(WELL, checked_at=LONG_AGO), State.UNKNOWN, "checked 21d 0h ago", "check`"),
        (replace(WELL, verified_at=None), State.UNKNOWN, "no object of it was ever verified", "verify`"),
        (
            replace(WELL, verified_at=LONG_AGO),
            State.UNKNOWN,
            "9 of 12 objects verified so far, the last 21d 0h",
            "verify`",
        ),
        (
            replace(WELL, check_unknown=1, check_found="why"),
            State.UNKNOWN,
            "could not tell 1 thing, first: why",
            "check`",
        ),
        (
            replace(WELL, check_damaged=2, check_found="why"),
            State.BAD,
            "found 2 things damaged or missing, first: why",
            "repair",
        ),
        (replace(WELL, damaged=("packs/a",)), State.BAD, "1 object found damaged, and still so: packs/a", "repair"),
        (
            RepositorySeen(damaged=tuple("abcd")),
            State.BAD,
            "4 objects found damaged, and still so: a, b, c, …",
            "repair",
        ),
        (RepositorySeen(obstacle="gone", cure="mount it"), State.BAD, "gone", "mount it"),
        (RepositorySeen(obstacle="no key", was_asked=False), State.UNKNOWN, "no key", ""),
    ],
)
def test_verdict(seen: RepositorySeen, state: State, fact: str, cure: str) -> None:
    """Damage before what is unknown, both before what is good; each with what to do."""
    (found,) = repository.judge(situation(seen))

    assert found.state is state
    assert fact in found.fact
    assert cure in found.cure
    assert bool(found.cure) == (state is State.BAD or (state is State.UNKNOWN and seen.was_asked))


def test_no_repository_no_finding() -> None:
    """That there is none is the backups' finding."""
    assert repository.judge(situation(None)) == ()
