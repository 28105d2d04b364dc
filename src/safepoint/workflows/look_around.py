"""`safepoint status`: gathers what the checks judge. What cannot be had is said, and makes its checks unknown."""

from __future__ import annotations

from datetime import datetime

import psycopg

from safepoint.errors import SafepointError, Unreachable
from safepoint.migration.status import State as MigrationState
from safepoint.model.measures import Clock, system_clock
from safepoint.monitoring.situation import BackupSeen, MigrationsSeen, ServerSeen, Situation, WalSeen
from safepoint.postgres.connect import connect
from safepoint.postgres.facts import fetch_server_facts
from safepoint.strategy import DatabaseStrategy, Platform
from safepoint.workflows.held import NOT_READ, Holdings, holdings_of, proofs_of
from safepoint.workflows.migrate import survey_migrations
from safepoint.workflows.project import Project


def situation_of(project: Project, name: str, *, clock: Clock = system_clock) -> Situation:
    """The database as it is now, by its server's clock where that answers; raises only when the name is unknown."""
    database = project.strategy.database(name)
    server, server_obstacle, is_server_down = _look_at_server(project, database)
    backups, wal, repository_obstacle = _look_at_repository(project, database)
    return Situation(
        database=database.name,
        now=server.clock if server else clock(),
        rpo=min((scenario.rpo for scenario in project.strategy.scenarios), default=None),
        server=server,
        server_obstacle=server_obstacle,
        is_server_down=is_server_down,
        has_repository=bool(project.strategy.repositories),
        repository_obstacle=repository_obstacle,
        backups=backups,
        wal=wal,
        migrations=tuple(_look_at_migrations(project, database, item.name) for item in database.migrations),
    )


def _look_at_server(project: Project, database: DatabaseStrategy) -> tuple[ServerSeen | None, str, bool]:
    try:
        with connect(project.database_url(database)) as connection:
            facts = fetch_server_facts(connection)
            row = connection.execute("SELECT clock_timestamp()").fetchone()
    except SafepointError as error:
        return None, error.message, isinstance(error, Unreachable)
    except psycopg.Error as error:
        return None, _answered(error), False
    assert row is not None  # noqa: S101 - the function returns one row
    return ServerSeen(version=str(facts.version), is_in_recovery=facts.is_in_recovery, clock=row[0]), "", False


def _look_at_repository(
    project: Project, database: DatabaseStrategy
) -> tuple[tuple[BackupSeen, ...], WalSeen | None, str]:
    if not project.strategy.repositories:
        return (), None, ""
    if database.platform is not Platform.SELF_MANAGED:
        return (), None, f'this version backs up no database of platform "{database.platform.value}"'
    try:
        repository = project.repository()
        held = holdings_of(repository, database.name)
        proofs = proofs_of(repository)
    except SafepointError as error:
        return (), None, error.message
    backups = tuple(
        BackupSeen(
            id=backup.id,
            tier=backup.tier,
            stopped_at=backup.stopped_at,
            proof=proofs.get(backup.id, NOT_READ).level,
            is_damaged=proofs.get(backup.id, NOT_READ).is_damaged,
        )
        for backup in held.backups
    )
    return backups, WalSeen(latest=_latest(held), gaps=held.coverage.gaps) if backups else None, ""


def _latest(held: Holdings) -> datetime | None:
    """The newest instant provable on the newest timeline."""
    timeline = max((interval.timeline for interval in held.coverage.intervals), default=None)
    on_it = (interval.latest for interval in held.coverage.intervals if interval.timeline == timeline)
    return max((instant for instant in on_it if instant is not None), default=None)


def _look_at_migrations(project: Project, database: DatabaseStrategy, application: str) -> MigrationsSeen:
    try:
        history = survey_migrations(project, database.name, application).history
    except SafepointError as error:
        return MigrationsSeen(application=application, obstacle=error.message)
    except psycopg.Error as error:
        return MigrationsSeen(application=application, obstacle=_answered(error))
    names = {state: tuple(item.name for item in history.of(state)) for state in MigrationState}
    return MigrationsSeen(
        application=application,
        applied=len(names[MigrationState.APPLIED]),
        pending=names[MigrationState.PENDING],
        failed=names[MigrationState.FAILED],
        edited=names[MigrationState.EDITED],
    )


def _answered(error: psycopg.Error) -> str:
    return f"the server answered with an error: {error}"
