"""`safepoint wal push`: one file into every required repository, by this process alone; and where archived WAL goes.

PostgreSQL's archiver starts it for each segment while no pusher runs, and waits: nothing is imported here that it does
not need, and what takes no part in an answer (marks, eventual repositories, whoever collects) is left to others.
"""

from __future__ import annotations

from pathlib import Path

from safepoint import errors
from safepoint.backup.archive.archive import Marks, NoMarks, WalArchive
from safepoint.backup.archive.data_directory import DataDirectory
from safepoint.backup.same_cluster import require_same_cluster
from safepoint.repository import Repository
from safepoint.strategy.values import DatabaseStrategy, RepositoryMode
from safepoint.workflows.project import Project


def push_file(project: Project, name: str | None, file: Path) -> None:
    """The file, of the data directory that is the working directory, is durable in every required repository."""
    database = project.self_managed(name)
    here = DataDirectory(path=Path.cwd())
    origin_file = here.wal / file.name
    if not (origin_file.exists() and file.exists() and origin_file.samefile(file)):
        raise errors.WL007.error(
            f"found {file}, expected a file in {here.wal}",
            hints=[errors.ask("is the command run by PostgreSQL, in the data directory, with %p?")],
        )
    archive = archive_into(project, database, here)
    archive.push(file.name, file.read_bytes())
    for repository in archive.repositories:
        repository.flush_journal()


def archive_into(
    project: Project, database: DatabaseStrategy, data: DataDirectory, marks: Marks | None = None
) -> WalArchive:
    """The archive of this data directory's WAL, into the required repositories; CF006, PG002, WL001, WL006."""
    origin = data.origin()
    data.require_no_copy()
    repositories = open_required(project, database)
    for repository in repositories:
        require_same_cluster(origin.cluster, repository, database.name, errors.WL001)
    return WalArchive(data=data, origin=origin, repositories=repositories, marks=marks or NoMarks())


def open_required(project: Project, database: DatabaseStrategy) -> tuple[Repository, ...]:
    """The repositories without which no WAL of the database is acknowledged; CF006 when every one is eventual."""
    found = project.strategy.wal_repositories(database.name)
    required = [each for each in found if each.mode is RepositoryMode.REQUIRED]
    if not required:
        raise errors.CF006.error(
            f"found no required repository for the WAL of {database.name} among {len(found)}, expected one at least",
            hints=[errors.run('take `mode = "eventual"` out of one of them')],
        )
    return tuple(map(project.open_repository, required))
