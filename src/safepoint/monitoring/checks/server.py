"""The server answers."""

from __future__ import annotations

from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.situation import Situation

NAME = "server"


def judge(situation: Situation) -> tuple[Finding, ...]:
    """Good when the server answered, bad with the reason when it did not, unknown when it could not be asked."""
    seen = situation.server
    if seen is None and not situation.is_server_down:
        cure = "mend what the strategy file says of this database, or the environment"
        return (Finding(check=NAME, state=State.UNKNOWN, fact=situation.server_obstacle, cure=cure),)
    if seen is None:
        cure = "start the server, or recover: `safepoint restore --to latest --into DIR`"
        return (Finding(check=NAME, state=State.BAD, fact=situation.server_obstacle, cure=cure),)
    role = "standby" if seen.is_in_recovery else "primary"
    return (Finding(check=NAME, state=State.GOOD, fact=f"PostgreSQL {seen.version}, {role}"),)
