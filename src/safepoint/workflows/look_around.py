"""`safepoint status`: gathers what the checks judge. What cannot be had is said, and makes its checks unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from safepoint.backup.summaries_trust import distrust_of
from safepoint.errors import SafepointError, Unreachable
from safepoint.migration.status import State as MigrationState
from safepoint.model.measures import Clock, system_clock
from safepoint.model.reach import Loss
from safepoint.monitoring.situation import (
    BackupSeen,
    MigrationsSeen,
    OtherWalSeen,
    RepositorySeen,
    ServerSeen,
    Situation,
    SlotSeen,
    WalSeen,
)
from safepoint.postgres.connect import connect
from safepoint.postgres.facts import fetch_server_facts
from safepoint.postgres.replication import slot_name
from safepoint.repository import Repository
from safepoint.repository.care.remembered_damage import remembered_damage
from safepoint.repository.care.verification_memory import read_memory, verified_share
from safepoint.strategy import DatabaseStrategy, Platform
from safepoint.workflows.check_record import last_check
from safepoint.workflows.held import NOT_READ, Holdings, Proven, first_tier, holdings_of, proofs_of
from safepoint.workflows.migrate import survey_migrations
from safepoint.workflows.project import Project
from safepoint.workflows.wal_losses import look_at_cluster_wal
from safepoint.workflows.wal_status import look_at_wal_repository

_OF_THE_STORE = ("RP", "ST")
"""How the codes begin of errors that the repository's store gave, or what lies in it."""
_SLOT = """
SELECT active, wal_status,
       CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint END
FROM pg_replication_slots WHERE slot_name = %s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What was seen of the repository; with an obstacle nothing."""

    cluster: str | None = None
    backups: tuple[BackupSeen, ...] = ()
    wal: WalSeen | None = None
    obstacle: str = ""
    unreadable: tuple[str, ...] = ()
    repository: RepositorySeen | None = None
    summaries_doubt: str = ""


def situation_of(project: Project, name: str, *, clock: Clock = system_clock) -> Situation:
    """The database as it is now, by its server's clock where that answers; raises only when the name is unknown."""
    database = project.strategy.database(name)
    server, server_obstacle, is_server_down = _look_at_server(project, database)
    held = _look_at_repository(project, database)
    stated = project.strategy.wal_of(database.name)
    return Situation(
        database=database.name,
        now=server.clock if server else clock(),
        rpo=min((scenario.rpo for scenario in project.strategy.scenarios), default=None),
        tier=first_tier(project.strategy),
        server=server,
        server_obstacle=server_obstacle,
        is_server_down=is_server_down,
        has_repository=bool(project.strategy.repositories),
        repository_obstacle=held.obstacle,
        cluster=held.cluster,
        backups=held.backups,
        unreadable=held.unreadable,
        repository=held.repository,
        summaries_doubt=held.summaries_doubt,
        wal=held.wal,
        slot_limit=None if stated is None else stated.slot_limit,
        other_wal=_look_at_other_wal(project, database, held.cluster),
        migrations=tuple(_look_at_migrations(project, database, item.name) for item in database.migrations),
    )


def _look_at_server(project: Project, database: DatabaseStrategy) -> tuple[ServerSeen | None, str, bool]:
    try:
        with connect(project.database_url(database)) as connection:
            facts = fetch_server_facts(connection)
            row = connection.execute("SELECT clock_timestamp(), current_setting('archive_mode') <> 'off'").fetchone()
            slot, slot_obstacle = _look_at_slot(connection, slot_name(database.name))
    except SafepointError as error:
        return None, error.message, isinstance(error, Unreachable)
    except psycopg.Error as error:
        return None, _answered(error), False
    assert row is not None  # noqa: S101 - functions return one row
    seen = ServerSeen(
        version=str(facts.version),
        is_in_recovery=facts.is_in_recovery,
        clock=row[0],
        system_identifier=None if facts.system_identifier is None else str(facts.system_identifier),
        slot_name=slot_name(database.name),
        slot=slot,
        slot_obstacle=slot_obstacle,
        archives=row[1],
    )
    return seen, "", False


def _look_at_slot(connection: psycopg.Connection[Any], name: str) -> tuple[SlotSeen | None, str]:
    """The slot, or None with what kept it from being seen, if anything did."""
    try:
        row = connection.execute(_SLOT, [name]).fetchone()
    except psycopg.errors.InsufficientPrivilege as error:
        return None, f"the role may not see replication slots: {error}"
    return (SlotSeen(is_active=row[0], wal_status=row[1], kept_bytes=row[2]) if row else None), ""


def _look_at_repository(project: Project, database: DatabaseStrategy) -> _Held:
    if not project.strategy.repositories:
        return _Held()
    if database.platform is not Platform.SELF_MANAGED:
        return _Held(obstacle=f'this version backs up no database of platform "{database.platform.value}"')
    try:
        repository = project.repository()
    except SafepointError as error:
        return _Held(obstacle=error.message, repository=_closed(error))
    seen = _look_at_objects(repository)
    try:
        held = holdings_of(repository, database.name)
        proofs = proofs_of(repository)
        losses = _losses(repository, held)
        distrust = None if held.cluster is None else distrust_of(repository, held.cluster)
    except SafepointError as error:
        return _Held(obstacle=error.message, repository=seen)
    return _Held(
        cluster=held.cluster,
        backups=_backups_seen(held, proofs),
        wal=WalSeen(latest=_latest(held, proofs), losses=losses) if held.backups else None,
        unreadable=held.unreadable,
        repository=seen,
        summaries_doubt="" if distrust is None else str(distrust),
    )


def _losses(repository: Repository, held: Holdings) -> tuple[Loss, ...]:
    """Why the WAL is missing that is; looked for only when some is."""
    if held.cluster is None or not held.coverage.gaps:
        return ()
    return look_at_cluster_wal(repository, held.cluster, held.backups).losses


def _backups_seen(held: Holdings, proofs: Mapping[str, Proven]) -> tuple[BackupSeen, ...]:
    return tuple(
        BackupSeen(
            id=backup.id,
            tier=backup.tier,
            timeline=backup.timeline,
            start=backup.start_lsn,
            stopped_at=backup.stopped_at,
            proof=proofs.get(backup.id, NOT_READ).level,
            is_damaged=proofs.get(backup.id, NOT_READ).is_damaged,
            damaged_pages=len(backup.damaged_pages),
            first_damage=next((f"block {page.block} of {page.path}" for page in backup.damaged_pages), ""),
        )
        for backup in held.backups
    )


def _look_at_other_wal(project: Project, database: DatabaseStrategy, cluster: str | None) -> tuple[OtherWalSeen, ...]:
    """What the repositories beside the first have of the database's WAL."""
    if not project.strategy.repositories or database.platform is not Platform.SELF_MANAGED or cluster is None:
        return ()
    first = project.strategy.repository()
    others = [other for other in project.strategy.wal_repositories(database.name) if other != first]
    found: list[OtherWalSeen] = []
    for other in others:
        report = look_at_wal_repository(project, database.name, other, cluster)
        seen = OtherWalSeen(
            repository=other.name,
            is_required=report.is_required,
            latest=None if report.mark is None else report.mark.clock,
            obstacle=report.obstacle,
        )
        found.append(seen)
    return tuple(found)


def _closed(error: SafepointError) -> RepositorySeen:
    """Gone, out of reach or under another key: with the error's own advice."""
    was_asked = error.spec.code.startswith(_OF_THE_STORE)
    return RepositorySeen(obstacle=error.message, cure=_advice(error), was_asked=was_asked)


def _advice(error: SafepointError) -> str:
    return " ".join(hint.text if hint.text.endswith("?") else f"{hint.text};" for hint in error.hints).rstrip(";")


def _look_at_objects(repository: Repository) -> RepositorySeen:
    """What the repository remembers; what was found damaged is read once more, for it may have been mended."""
    try:
        memory = read_memory(repository)
        damaged = remembered_damage(repository) if memory.damaged else {}
        share = verified_share(repository, memory)
        check = last_check(repository)
    except SafepointError as error:
        return RepositorySeen(obstacle=error.message, cure=_advice(error))
    return RepositorySeen(
        objects=share.objects,
        verified=share.verified,
        verified_at=share.newest,
        damaged=tuple(sorted(damaged.keys() - (frozenset[str]() if check is None else check.unneeded))),
        checked_at=None if check is None else check.at,
        check_damaged=0 if check is None else check.damaged,
        check_unknown=0 if check is None else check.unknown,
        check_found="" if check is None else check.first,
    )


def _latest(held: Holdings, proofs: dict[str, Proven]) -> datetime | None:
    """The newest instant provable on the newest timeline, from a backup that is not known to be damaged."""
    followed = (item for item in held.coverage.intervals if item.timeline not in held.coverage.abandoned)
    sound = [item for item in followed if not proofs.get(item.backup_id, NOT_READ).is_damaged]
    timeline = max((interval.timeline for interval in sound), default=None)
    on_it = (interval.latest for interval in sound if interval.timeline == timeline)
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
