"""How old a backup is, by the clock of the server that it is of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from safepoint.workflows.safety import age_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_backup_is_as_old_as_the_server_says() -> None:
    """From its end to the server's now."""
    assert age_of(NOON, NOON + timedelta(hours=3)) == timedelta(hours=3)


def test_a_clock_that_was_set_back_makes_the_age_unknown_and_not_zero() -> None:
    """A backup from the future is never called fresh."""
    assert age_of(NOON, NOON - timedelta(seconds=1)) is None
