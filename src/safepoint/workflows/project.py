"""What a strategy file refers to, opened: connections and repositories by name.

The one place where references become values; nothing here decides anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from safepoint import errors
from safepoint.model.secret import Secret
from safepoint.repository import Repository, open_repository
from safepoint.stores import open_store
from safepoint.strategy import (
    DatabaseStrategy,
    Platform,
    Reference,
    RepositoryStrategy,
    Strategy,
    find_strategy,
    load_strategy,
    resolve_in,
)
from safepoint.strategy.kinds import located
from safepoint.workflows.places import local_places, strategy_memory

if TYPE_CHECKING:
    from safepoint.postgres.url import DatabaseUrl


def _process_environment() -> Mapping[str, str]:
    return os.environ


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A loaded strategy and the environment in which its references are looked up."""

    strategy: Strategy
    environment: Mapping[str, str] = field(default_factory=_process_environment)

    def database_url(self, database: DatabaseStrategy) -> DatabaseUrl:
        """Where the database is; the direct URL where there is one. CF003 when the reference leads nowhere."""
        return self.url_of(database.connection)

    def url_of(self, reference: Reference) -> DatabaseUrl:
        """Where that reference to a server leads. CF003 when it leads nowhere."""
        from safepoint.postgres.url import DatabaseUrl  # noqa: PLC0415 - psycopg: 0.1 s that care of a repository saves

        return DatabaseUrl.parse(resolve_in(self.strategy, reference, self.environment).reveal())

    def self_managed(self, name: str | None) -> DatabaseStrategy:
        """The database of that name, when its platform lets one reach its WAL and files; CF004 otherwise."""
        database = self.strategy.database(name)
        if database.platform is not Platform.SELF_MANAGED:
            raise errors.CF004.error(
                f'found platform "{database.platform.value}" for {database.name}, expected "self-managed": '
                "this version backs up and restores no other",
                hints=[errors.run("migrations work on any platform: `safepoint migrate deploy`")],
            )
        return database

    def repository(self, name: str | None = None) -> Repository:
        """The repository of that name, or the first; CF006 when the strategy has none."""
        return self.open_repository(self.strategy.repository(name))

    def open_repository(self, repository: RepositoryStrategy) -> Repository:
        """Opened with its own key; writes nothing."""
        return open_repository(
            open_store(self.repository_url(repository)),
            self.repository_key(repository),
            places=local_places(self.environment),
        )

    def repository_url(self, repository: RepositoryStrategy) -> str:
        """The store's URL; a relative `file:` path is relative to the strategy file."""
        url = resolve_in(self.strategy, repository.url, self.environment).reveal()
        return located(url, self.strategy.directory)

    def repository_key(self, repository: RepositoryStrategy) -> Secret | None:
        """The passphrase, None for a repository that is not encrypted."""
        if repository.key is None:
            return None
        return resolve_in(self.strategy, repository.key, self.environment).secret


def load_project(config: Path | None) -> Project:
    """The project of a strategy file, or of the one found here or above; CF001, CF002."""
    return Project(strategy=load_strategy(config or find_strategy(Path.cwd()), memory=strategy_memory()))
