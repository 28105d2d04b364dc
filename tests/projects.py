"""A project as a team has it: a database, a Prisma folder, a repository, a backup that was proven, WAL behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backups import newest_mark, receiving, server_clock, system_identifier, wait_until
from migrating import ask
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl
from safepoint.steps.execute import Silence, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.strategy import load_strategy
from safepoint.workflows.back_up import prepare_backup
from safepoint.workflows.initialise import Wishes, find_out, init_actions, plan_init
from safepoint.workflows.migrate import prepare_deploy
from safepoint.workflows.project import Project as OpenProject
from safepoint.workflows.verify import prepare_verification
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
    """With a repository without a key, and the first migration applied. All of it in this process, for speed."""
    wishes = Wishes(directory=project.shell.folder, repository=f"file:{project.repository}", key="none")
    environment = project.shell.environment
    plan = plan_init(wishes, find_out(wishes, environment))
    execute(plan, actions=init_actions(wishes, environment), journal=MemoryJournal())
    prepare_deploy(opened(project), None, None, without_backup="the database is empty").execute(Silence())
    ask(project.url, 'INSERT INTO "Order" SELECT number FROM generate_series(1, 100) number')
    return project


def opened(project: Project) -> OpenProject:
    """As the commands load it."""
    strategy = load_strategy(project.shell.folder / "safepoint.toml")
    return OpenProject(strategy=strategy, environment=project.shell.environment)


def back_up(project: Project) -> None:
    """A backup, in this process."""
    prepare_backup(opened(project), None, "daily").execute(Silence())


def verify(project: Project) -> None:
    """The newest backup is verified, in this process."""
    job = prepare_verification(opened(project), None, None, None)
    job.execute(Silence())
    job.conclude()


def stream_once(project: Project) -> None:
    """All WAL up to now is in the repository, with a mark that says so, and no receiver runs."""
    repository = opened(project).repository()
    identifier = system_identifier(project.cluster)
    with connect(project.url) as connection:
        now = server_clock(connection)

    def is_marked() -> bool:
        mark = newest_mark(repository, identifier)
        return mark is not None and mark.clock > now

    with receiving(project.url, repository):
        wait_until(is_marked)
