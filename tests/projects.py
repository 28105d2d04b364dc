"""A project as a team has it: a database, a Prisma folder, a repository, a backup that was proven, WAL behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backups import newest_mark, receiving, server_clock, system_identifier, wait_until
from migrating import ask
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository import open_repository
from safepoint.stores import open_store
from shell import Shell, shell_in

FIRST, SECOND = "20260101000000_first", "20260102000000_second"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A server of its own, and a shell in the project's folder. Its database is `shop`."""

    cluster: Cluster
    shell: Shell
    root: Path

    @property
    def url(self) -> DatabaseUrl:
        """The shop's database."""
        return self.cluster.url("shop")

    @property
    def repository(self) -> Path:
        """The repository's folder."""
        return self.root / "repository"

    def migration(self, name: str, sql: str) -> Path:
        """A migration of the project."""
        return self.shell.write(f"prisma/migrations/{name}/migration.sql", sql)


def make_project(root: Path, cluster: Cluster) -> Project:
    """The folder with one migration, and the empty database; not yet known to safepoint."""
    ask(cluster.url(), "CREATE DATABASE shop")
    shell = shell_in(root / "project", DATABASE_URL=cluster.url("shop").reveal())
    project = Project(cluster=cluster, shell=shell, root=root)
    shell.write("prisma/migrations/migration_lock.toml", 'provider = "postgresql"\n')
    project.migration(FIRST, 'CREATE TABLE "Order" (id int PRIMARY KEY, note text);\n')
    return project


def initialised(project: Project) -> Project:
    """With a repository without a key, and the first migration applied."""
    project.shell.safepoint("init", "--repository", f"file:{project.repository}", "--key", "none")
    project.shell.safepoint("migrate", "deploy", "--without-backup", "the database is empty")
    ask(project.url, 'INSERT INTO "Order" SELECT number FROM generate_series(1, 100) number')
    return project


def stream_once(project: Project) -> None:
    """All WAL up to now is in the repository, with a mark that says so, and no receiver runs."""
    repository = open_repository(open_store(f"file:{project.repository}"), None)
    identifier = system_identifier(project.cluster)
    with connect(project.url) as connection:
        now = server_clock(connection)

    def is_marked() -> bool:
        mark = newest_mark(repository, identifier)
        return mark is not None and mark.clock > now

    with receiving(project.url, repository):
        wait_until(is_marked)
