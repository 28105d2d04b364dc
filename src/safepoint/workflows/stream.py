"""`safepoint wal stream`: WAL into the repositories until told to stop."""

from __future__ import annotations

import threading
from functools import partial

from safepoint.backup.canary import ROW_WAL_BYTES
from safepoint.backup.lane import Sink
from safepoint.backup.receiver import WalReceiver
from safepoint.backup.receiver_state import ReceiverObserver
from safepoint.model.measures import format_bytes
from safepoint.postgres.url import DatabaseUrl
from safepoint.strategy import DatabaseStrategy, RepositoryMode, resolve_in
from safepoint.workflows.project import Project

_DAY_SECONDS = 86_400


def prepare_stream(
    project: Project,
    name: str | None,
    *,
    repository: str | None,
    ship_seconds: float,
    accept_gap: bool,
    stop: threading.Event,
    observer: ReceiverObserver,
    is_synchronous: bool = False,
) -> WalReceiver:
    """The receiver of a database's WAL, ready to run: into the repository named, else into all that take it.

    CF004, CF006; of repositories nothing is known yet, for one that is away must not keep the others from their WAL.
    """
    database = project.self_managed(name)
    wal = project.strategy.wal_of(database.name)
    return WalReceiver(
        url=project.database_url(database),
        replicas=replicas_of(project, database),
        sinks=sinks_of(project, database.name, repository),
        database=database.name,
        stop=stop,
        ship_seconds=ship_seconds,
        accept_gap=accept_gap,
        observer=observer,
        is_synchronous=is_synchronous,
        canary_seconds=wal.canary.total_seconds() if wal is not None and wal.canary is not None else None,
        slot_limit=None if wal is None else wal.slot_limit,
        data=database.data,
    )


def sinks_of(project: Project, database: str, only: str | None = None) -> tuple[Sink, ...]:
    """The repositories that take a database's WAL, required ones first; one that is named alone is required."""
    if only is not None:
        return (Sink(name=only, open=partial(project.open_repository, project.strategy.repository(only))),)
    return tuple(
        Sink(
            name=repository.name,
            open=partial(project.open_repository, repository),
            is_required=repository.mode is RepositoryMode.REQUIRED,
        )
        for repository in project.strategy.wal_repositories(database)
    )


def replicas_of(project: Project, database: DatabaseStrategy) -> tuple[DatabaseUrl, ...]:
    """The servers that may take the primary's place."""
    if database.replica is None:
        return ()
    return (DatabaseUrl.parse(resolve_in(project.strategy, database.replica, project.environment).reveal()),)


def plan_lines(receiver: WalReceiver) -> list[str]:
    """What will be done and what it costs, for people, before anything is."""
    into = [f"{sink.name} ({'required' if sink.is_required else 'eventual'})" for sink in receiver.sinks]
    lines = [f"WAL of {receiver.database} through slot {receiver.slot_name} into {', '.join(into)}"]
    if len(receiver.servers) > 1:
        lines.append(
            f"from whichever of {len(receiver.servers)} servers is the primary; the slot is kept on the others, too"
        )
    if receiver.canary_seconds is not None:
        rows = round(_DAY_SECONDS / receiver.canary_seconds)
        lines.append(
            f"a canary row every {receiver.canary_seconds:g} s into safepoint.canary: {rows} commits and about "
            f"{format_bytes(rows * ROW_WAL_BYTES)} of WAL a day"
        )
    if receiver.is_synchronous:
        lines.append(
            "each batch is stored and reported at once; commits wait for it when the server has: "
            f"synchronous_standby_names = 'FIRST 1 ({receiver.slot_name})', synchronous_commit = on"
        )
    return lines
