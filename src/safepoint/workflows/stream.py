"""`safepoint wal stream`: WAL into the repository until told to stop."""

from __future__ import annotations

import threading

from safepoint.backup.receiver import WalReceiver
from safepoint.backup.receiver_state import ReceiverObserver
from safepoint.workflows.project import Project


def prepare_stream(
    project: Project,
    name: str | None,
    *,
    repository: str | None,
    ship_seconds: float,
    accept_gap: bool,
    stop: threading.Event,
    observer: ReceiverObserver,
) -> WalReceiver:
    """The receiver of a database's WAL, ready to run; CF004, CF006."""
    database = project.self_managed(name)
    target = project.repository(repository)
    return WalReceiver(
        url=project.database_url(database),
        repository=target,
        database=database.name,
        stop=stop,
        ship_seconds=ship_seconds,
        accept_gap=accept_gap,
        observer=observer,
    )
