"""The repository opens, was checked and read lately, and no damage that was found is still there.

It remembers what `safepoint repository check` found last, what `safepoint repository verify` read when, and what that
found damaged. Run nightly, both have seen everything within two weeks, so that three without are too many.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from safepoint.model.measures import format_count, format_duration
from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.situation import RepositorySeen, Situation

NAME = "repository"
OLDEST = timedelta(days=21)
_NAMED = 3
_CHECK = "`safepoint repository check`"
_VERIFY = "`safepoint repository verify`"
_MEND = "`safepoint repository repair --from NAME|URL`, or see whom it concerns: `safepoint repository check`"


def judge(situation: Situation) -> tuple[Finding, ...]:
    """Bad when it does not open or is damaged; unknown when it was not asked, or not looked at lately."""
    seen = situation.repository
    if seen is None:
        return ()
    if seen.obstacle:
        state = State.BAD if seen.was_asked else State.UNKNOWN
        return (Finding(check=NAME, state=state, fact=seen.obstacle, cure=seen.cure),)
    told = _damage(seen, situation.now) or _unknown(seen, situation.now)
    if told is not None:
        return (told,)
    assert seen.checked_at is not None  # noqa: S101 - without it that is unknown, and so for what was verified
    assert seen.verified_at is not None  # noqa: S101
    fact = f"checked {_ago(seen.checked_at, situation.now)}; {_verified(seen, situation.now)}"
    return (Finding(check=NAME, state=State.GOOD, fact=fact),)


def _damage(seen: RepositorySeen, now: datetime) -> Finding | None:
    if seen.damaged:
        named = ", ".join(seen.damaged[:_NAMED]) + (", …" if len(seen.damaged) > _NAMED else "")
        fact = f"{format_count(len(seen.damaged), 'object')} found damaged, and still so: {named}"
        return Finding(check=NAME, state=State.BAD, fact=fact, cure=_MEND)
    if seen.check_damaged and seen.checked_at is not None:
        found = format_count(seen.check_damaged, "thing")
        fact = f"the check {_ago(seen.checked_at, now)} found {found} damaged or missing, first: {seen.check_found}"
        return Finding(check=NAME, state=State.BAD, fact=fact, cure=_MEND)
    return None


def _unknown(seen: RepositorySeen, now: datetime) -> Finding | None:
    """What has not been looked at lately, or could not be."""
    if seen.checked_at is None or now - seen.checked_at > OLDEST:
        fact = "its structure was never checked" if seen.checked_at is None else f"checked {_ago(seen.checked_at, now)}"
        return Finding(check=NAME, state=State.UNKNOWN, fact=fact, cure=_CHECK)
    if seen.check_unknown:
        found = format_count(seen.check_unknown, "thing")
        fact = f"the check {_ago(seen.checked_at, now)} could not tell {found}, first: {seen.check_found}"
        return Finding(check=NAME, state=State.UNKNOWN, fact=fact, cure=_CHECK)
    if seen.verified_at is None or now - seen.verified_at > OLDEST:
        fact = "no object of it was ever verified" if seen.verified_at is None else _verified(seen, now)
        return Finding(check=NAME, state=State.UNKNOWN, fact=fact, cure=_VERIFY)
    return None


def _verified(seen: RepositorySeen, now: datetime) -> str:
    assert seen.verified_at is not None  # noqa: S101 - asked for only then
    objects = format_count(seen.objects, "object")
    return f"{seen.verified} of {objects} verified so far, the last {_ago(seen.verified_at, now)}"


def _ago(then: datetime, now: datetime) -> str:
    return f"{format_duration(max(now - then, timedelta()))} ago"
