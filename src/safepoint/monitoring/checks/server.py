"""The server answers, and it is the cluster that the backups are of."""

from __future__ import annotations

from safepoint.monitoring.finding import Finding, State
from safepoint.monitoring.situation import Situation

NAME = "server"


def judge(situation: Situation) -> tuple[Finding, ...]:
    """Bad with the reason when it did not answer or is another cluster; unknown when it could not be asked which."""
    seen = situation.server
    if seen is None and not situation.is_server_down:
        cure = "mend what the strategy file says of this database, or the environment"
        return (Finding(check=NAME, state=State.UNKNOWN, fact=situation.server_obstacle, cure=cure),)
    if seen is None:
        cure = "start the server, or recover: `safepoint restore --to latest --into DIR`"
        return (Finding(check=NAME, state=State.BAD, fact=situation.server_obstacle, cure=cure),)
    role = "standby" if seen.is_in_recovery else "primary"
    return (_identity(situation, seen.system_identifier, f"PostgreSQL {seen.version}, {role}"),)


def _identity(situation: Situation, found: str | None, fact: str) -> Finding:
    if situation.cluster in {None, found}:
        return Finding(check=NAME, state=State.GOOD, fact=fact)
    if found is None:
        return Finding(
            check=NAME,
            state=State.UNKNOWN,
            fact=f"{fact}; the role may not see whether it is cluster {situation.cluster}, which the backups are of",
            cure="`GRANT EXECUTE ON FUNCTION pg_control_system() TO` the role, as a superuser",
        )
    return Finding(
        check=NAME,
        state=State.BAD,
        fact=f"{fact}; found cluster {found}, the backups are of cluster {situation.cluster}",
        cure="mend the URL, or name this cluster as another database in the strategy file and back it up",
    )
