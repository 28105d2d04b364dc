"""`safepoint status`: gathers what the checks judge. What cannot be had is said, and makes its checks unknown."""

from __future__ import annotations

from datetime import datetime

from safepoint.errors import SafepointError
from safepoint.migration.status import State as MigrationState
from safepoint.model.measures import Clock, system_clock
from safepoint.monitoring.situation import BackupSeen, MigrationsSeen, ServerSeen, Situation, WalSeen
from safepoint.postgres.connect import connect
from safepoint.postgres.facts import fetch_server_facts
from safepoint.strategy import DatabaseStrategy
from safepoint.workflows.held import NOT_READ, Holdings, holdings_of, proofs_of
from safepoint.workflows.migrate import survey_migrations
from safepoint.workflows.project import Project


def situation_of(project: Project, name: str, *, clock: Clock = system_clock) -> Situation:
    """The database as it is now; raises only for a strategy file that is wrong."""
    database = project.strategy.database(name)
    server, server_obstacle = _look_at_server(project, database)
    backups, wal, repository_obstacle = _look_at_repository(project, database)
    migrations, migrations_obstacle = _look_at_migrations(project, database)
    return Situation(
        database=database.name,
        now=clock(),
        rpo=min((scenario.rpo for scenario in project.strategy.scenarios), default=None),
        server=server,
        server_obstacle=server_obstacle,
        has_repository=bool(project.strategy.repositories),
        repository_obstacle=repository_obstacle,
        backups=backups,
        wal=wal,
        migrations=migrations,
        migrations_obstacle=migrations_obstacle,
    )


def _look_at_server(project: Project, database: DatabaseStrategy) -> tuple[ServerSeen | None, str]:
    try:
        with connect(project.database_url(database)) as connection:
            facts = fetch_server_facts(connection)
    except SafepointError as error:
        return None, error.message
    return ServerSeen(version=str(facts.version), is_in_recovery=facts.is_in_recovery), ""


def _look_at_repository(
    project: Project, database: DatabaseStrategy
) -> tuple[tuple[BackupSeen, ...], WalSeen | None, str]:
    if not project.strategy.repositories:
        return (), None, ""
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


def _look_at_migrations(project: Project, database: DatabaseStrategy) -> tuple[tuple[MigrationsSeen, ...], str]:
    seen: list[MigrationsSeen] = []
    try:
        for application in database.migrations:
            history = survey_migrations(project, database.name, application.name).history
            names = {state: tuple(item.name for item in history.of(state)) for state in MigrationState}
            seen.append(
                MigrationsSeen(
                    application=application.name,
                    applied=len(names[MigrationState.APPLIED]),
                    pending=names[MigrationState.PENDING],
                    failed=names[MigrationState.FAILED],
                    edited=names[MigrationState.EDITED],
                )
            )
    except SafepointError as error:
        return (), error.message
    return tuple(seen), ""
