"""Which repository a person means: one that the strategy file names, or, when that is lost too, a URL and its key."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from safepoint import errors
from safepoint.errors import SafepointError
from safepoint.model.secret import Secret
from safepoint.repository import Places, Repository, open_repository
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing.keys import OpenedKeys
from safepoint.stores import open_store
from safepoint.strategy import resolve
from safepoint.strategy.kinds import located
from safepoint.workflows.places import local_places
from safepoint.workflows.project import Project

NO_KEY = "none"
DEFAULT_KEY = "env:SAFEPOINT_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A repository that was named, its key in hand, not opened. `key` is the reference, safe to show.

    References beside its own are relative to `base`, their variables also looked for in `.env` of `dotenv_folders`.
    `place` are the options that name it to any command; none for the one that is meant unasked.
    """

    name: str
    url: str
    key: str
    passphrase: Secret | None = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    base: Path
    dotenv_folders: Sequence[Path] = ()
    place: Mapping[str, str] = field(default_factory=dict[str, str])

    def open(self) -> Repository:
        """Opened; writes nothing to the store. RP001, RP003, RP008."""
        with self.named():
            return open_repository(open_store(self.url), self.passphrase, places=self.places)

    def open_keys(self) -> OpenedKeys:
        """Its keys, all of them; RP001, RP003, RP008."""
        with self.named():
            return open_keys(open_store(self.url), self.passphrase).require_whole()

    @property
    def places(self) -> Places:
        """What this machine remembers of repositories."""
        return local_places(self.environment)

    def resolve(self, reference: str) -> Secret:
        """What another reference, given beside the repository, leads to; CF003."""
        folders = self.dotenv_folders
        return resolve(reference, base=self.base, environment=self.environment, dotenv_folders=folders).secret

    @contextmanager
    def named(self) -> Generator[None]:
        """An error on the way says that it is about this one: its hints then name it, and not another."""
        try:
            yield
        except SafepointError as error:
            error.place = self.place
            raise


def is_url(text: str) -> bool:
    """A name is one of the strategy file's; anything with a colon or a slash is a URL or a folder."""
    return ":" in text or "/" in text


def locate(
    load: Callable[[], Project], named: str | None, key: str, environment: Mapping[str, str] = os.environ
) -> Located:
    """The repository of that name, or URL, or the strategy's first; `load` is asked only when there is no URL.

    CF003, CF004, CF006. The key counts with a URL alone: the strategy file names those of its own.
    """
    if named is not None and is_url(named):
        return located_at(named, key, environment)
    return located_in(load(), named)


def located_in(project: Project, name: str | None) -> Located:
    """The repository that the strategy file calls so, or its first; CF003, CF004, CF006."""
    strategy = project.strategy.repository(name)
    return Located(
        name=strategy.name,
        url=project.repository_url(strategy),
        key=NO_KEY if strategy.key is None else str(strategy.key),
        passphrase=project.repository_key(strategy),
        environment=project.environment,
        base=project.strategy.directory,
        dotenv_folders=project.strategy.dotenv_folders,
        place={} if name is None else {"--repository": name},
    )


def located_at(url: str, key: str, environment: Mapping[str, str] = os.environ) -> Located:
    """The repository at a URL, or in a folder, relative to where the command is run; CF003."""
    here = Path.cwd()
    return Located(
        name=url,
        url=located(url, here),
        key=key,
        passphrase=None if key == NO_KEY else resolve(key, base=here, environment=environment).secret,
        environment=environment,
        base=here,
        place={"--repository": url, **({} if key == DEFAULT_KEY else {"--key": key})},
    )


def require_two(one: Located, other: Located) -> None:
    """CF004 when both are one place."""
    if one.url == other.url:
        raise errors.CF004.error(
            f"found {one.name} and {other.name} both at {one.url}, expected two repositories",
            hints=[errors.run("name another one")],
        )
