"""`safepoint wal archive`: WAL by archive_command, through a resident pusher. `push.py` is without one."""

from __future__ import annotations

import shlex
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from safepoint import errors
from safepoint.backup.archive.archive import WalArchive
from safepoint.backup.archive.data_directory import DataDirectory
from safepoint.backup.archive.pusher import DEFAULT_JOBS, Pusher, PusherObserver
from safepoint.backup.archive.wire import socket_path
from safepoint.postgres.settings import render_settings
from safepoint.repository import Repository
from safepoint.strategy import DatabaseStrategy, RepositoryMode
from safepoint.workflows.project import Project
from safepoint.workflows.push import archive_into

if TYPE_CHECKING:
    from safepoint.backup.archive.marks_of_archive import ArchiveMarks

_MARK_SECONDS = 1.0
"""Before the end of a segment so much time at most is not proven: a mark that comes after it waits for the next."""
_HELPER = "safepoint-wal"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveJob:
    """A pusher ready to run, and the work beside it: marks, and the eventual repositories. Each ends with `stop`."""

    pusher: Pusher
    beside: tuple[Callable[[], None], ...]

    def run(self) -> None:
        """Until the pusher's `stop` is set: then what was asked for is answered, and the work beside it has ended."""
        threads = [threading.Thread(target=work) for work in self.beside]
        for thread in threads:
            thread.start()
        try:
            self.pusher.run()
        finally:
            self.pusher.stop.set()
            for thread in threads:
                thread.join()


def prepare_archive(
    project: Project,
    name: str | None,
    *,
    data: Path | None,
    socket: str | None,
    jobs: int = DEFAULT_JOBS,
    stop: threading.Event,
    observer: PusherObserver,
) -> ArchiveJob:
    """The pusher of a database's WAL, ready to run; CF004, CF006, PG002, WL001, WL006."""
    database = project.self_managed(name)
    directory = DataDirectory(path=data_of(database, data))
    marks = _marks_of(project, database)
    archive = archive_into(project, database, directory, marks)
    pusher = Pusher(archive=archive, path=socket_path(directory.path, socket), observer=observer, jobs=jobs, stop=stop)
    beside: list[Callable[[], None]] = [partial(marks.run, stop)]
    if eventual := _eventual(project, database):
        beside.append(_refilling(archive, eventual, stop, observer))
    return ArchiveJob(pusher=pusher, beside=tuple(beside))


def archive_lines(project: Project, name: str | None) -> list[str]:
    """What the strategy asks for and archiving does not do, for people, before anything is done."""
    database = project.self_managed(name)
    wal = project.strategy.wal_of(database.name)
    if wal is None or wal.canary is None:
        return []
    return [
        f"no canary rows from here: `canary` of [wal.{database.name}] is written by `safepoint wal stream` alone",
    ]


def archive_command(
    project: Project, name: str | None, *, data: Path | None, socket: str | None, config: Path | None
) -> str:
    """The line for postgresql.conf: this installation's helper, the socket of this data directory, this strategy."""
    database = project.self_managed(name)
    path = socket_path(data_of(database, data), socket).absolute()
    strategy = (config or project.strategy.path).absolute()
    command = shlex.join([str(_helper()), "push"])
    options = shlex.join(["--socket", str(path), "--database", database.name, "--config", str(strategy)])
    escaped = (text.replace("%", "%%") for text in (command, options))
    return render_settings({"archive_command": " %p ".join(escaped)})


def data_of(database: DatabaseStrategy, data: Path | None) -> Path:
    """The data directory that is named, or the strategy's; CF004 when neither is."""
    found = data or database.data
    if found is None:
        raise errors.CF004.error(
            f"found no data directory of {database.name}, expected `data` in its entry, or --data",
            hints=[errors.run("name it: `safepoint wal archive --data /var/lib/postgresql/17/main`")],
        )
    return found.absolute()


def _eventual(project: Project, database: DatabaseStrategy) -> tuple[Repository, ...]:
    found = project.strategy.wal_repositories(database.name)
    return tuple(project.open_repository(each) for each in found if each.mode is RepositoryMode.EVENTUAL)


def _marks_of(project: Project, database: DatabaseStrategy) -> ArchiveMarks:
    from safepoint.backup.archive.marks_of_archive import ArchiveMarks  # noqa: PLC0415 - psycopg: inline work saves it
    from safepoint.backup.marks import MarkSource  # noqa: PLC0415

    return ArchiveMarks(MarkSource(project.database_url(database)), _MARK_SECONDS)


def _refilling(
    archive: WalArchive, eventual: tuple[Repository, ...], stop: threading.Event, observer: PusherObserver
) -> Callable[[], None]:
    from safepoint.backup.archive.refilling import keep_refilled  # noqa: PLC0415

    source, cluster = archive.repositories[0], archive.origin.cluster
    return partial(keep_refilled, source, eventual, cluster, stop=stop, troubled=observer.troubled)


def _helper() -> Path:
    """The one beside the program that runs, else the one on PATH, else its name."""
    beside = Path(sys.argv[0]).absolute().with_name(_HELPER)
    if beside.exists():
        return beside
    return Path(shutil.which(_HELPER) or _HELPER)
