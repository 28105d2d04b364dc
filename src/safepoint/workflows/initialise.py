"""`safepoint init`: finds out what can be found out, and writes the smallest strategy file that is true.

Order of writes: the repository (adopted when it is there and opens with the key), then the strategy file, at once and
only if absent; killed between the two, the same command finishes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safepoint import errors
from safepoint.errors import SafepointError
from safepoint.files import create_durably
from safepoint.model.json_value import Json, JsonObject
from safepoint.platforms.self_managed import Ability, abilities_of
from safepoint.postgres.connect import connect, replication_connection
from safepoint.postgres.facts import ServerFacts, fetch_server_facts
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository.sealing.keys import KEY_LOST_STATEMENT
from safepoint.steps.execute import Action, Context
from safepoint.steps.plan import Plan, Step
from safepoint.strategy import (
    FILE_NAME,
    FoundMigrations,
    PrismaProject,
    minimal_strategy,
    name_for,
    read_prisma_project,
    resolve,
)
from safepoint.strategy.kinds import located
from safepoint.workflows.repositories import make_or_open, require_apart, store_warnings

_READABLE = 0o666  # the strategy holds no secrets; the umask decides who else reads and writes it
_LOCAL_HOSTS = {None, "localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the person said; everything else is found out. References are like `env:NAME`."""

    directory: Path
    url: str | None = None
    name: str | None = None
    repository: str | None = None
    key: str = "env:SAFEPOINT_KEY"
    allows_weak: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was found out. `url` and `direct_url` are references or literals without a password."""

    url: str
    direct_url: str | None
    database: DatabaseUrl
    facts: ServerFacts
    abilities: tuple[Ability, ...]
    data: Path | None
    prisma: PrismaProject | None


def find_out(wishes: Wishes, environment: Mapping[str, str] = os.environ) -> Findings:
    """Looks at the folder and at the server; changes nothing. CF005 when the file exists, CF003, PG004 … PG009."""
    _require_absent(wishes.directory / FILE_NAME)
    prisma = _find_prisma_project(wishes.directory)
    default = f"env:{prisma.url_variable if prisma and prisma.url_variable else 'DATABASE_URL'}"
    url = _without_password(wishes.url, environment) if wishes.url else default
    folders = _dotenv_folders(wishes.directory, prisma)
    direct_url = None if wishes.url else _find_direct_url(prisma, wishes.directory, folders, environment)
    database = DatabaseUrl.parse(_resolve(direct_url or url, wishes.directory, folders, environment))
    with connect(database) as connection:
        facts = fetch_server_facts(connection)
    return Findings(
        url=url,
        direct_url=direct_url,
        database=database,
        facts=facts,
        abilities=abilities_of(facts, replication_obstacle=_replication_obstacle(database)),
        data=_data_within_reach(database, facts),
        prisma=prisma,
    )


def plan_init(wishes: Wishes, found: Findings) -> Plan:
    """Writes the file, after making or opening the repository when one was named; RP002 if inside another one."""
    path = wishes.directory / FILE_NAME
    name = name_for(wishes.name or found.database.database)
    repository = located(wishes.repository, wishes.directory) if wishes.repository else None
    if repository is not None:
        require_apart(repository)
    write = Step(
        name="write-strategy",
        action="init.write_strategy",
        title=f"write {path}",
        arguments={"path": str(path), "text": _strategy_text(wishes, found, name, repository)},
    )
    create = Step(
        name="create-repository",
        action="init.create_repository",
        title=f"create or open the repository {repository}",
        arguments={"url": repository, "key": wishes.key},
    )
    return Plan(
        verb="init",
        subject=str(path),
        title=f"init {name}",
        steps=(create, write) if repository else (write,),
        facts=tuple(_facts(found)),
        warnings=tuple(_warnings(wishes, found)),
    )


def init_actions(wishes: Wishes, environment: Mapping[str, str] = os.environ) -> dict[str, Action]:
    """The actions of `plan_init`."""

    def create(step: Step, _context: Context) -> JsonObject:
        return _create_repository(str(step.arguments["url"]), str(step.arguments["key"]), wishes, environment)

    return {"init.create_repository": create, "init.write_strategy": _write_strategy}


def ability_to_json(ability: Ability) -> dict[str, Json]:
    """One line of the rights table."""
    return {
        "feature": ability.feature,
        "answer": ability.answer.value,
        "because": ability.because,
        "cure": ability.cure,
    }


def _require_absent(path: Path) -> None:
    if os.path.lexists(path):
        raise errors.CF005.error(
            f"found {path}, expected no strategy file there",
            hints=[
                errors.ask("is this database's strategy stated already?"),
                errors.run("see it: `safepoint status`"),
                errors.run("for a repository added to the file later: `safepoint repository init`"),
            ],
        )


def _find_prisma_project(directory: Path) -> PrismaProject | None:
    """The project here; where only its migrations are found, in a folder below, the project they belong to."""
    found = read_prisma_project(directory)
    if found is None or found.schema is not None or found.migrations is None:
        return found
    return read_prisma_project(found.migrations.parent.parent) or found


def _dotenv_folders(directory: Path, prisma: PrismaProject | None) -> tuple[Path, ...]:
    """The folders in which the strategy, once written, looks for `.env`."""
    return (directory, *([prisma.migrations.parent] if prisma and prisma.migrations else []))


def _resolve(reference: str, base: Path, folders: Sequence[Path], environment: Mapping[str, str]) -> str:
    if _is_literal(reference):
        return reference
    return resolve(reference, base=base, environment=environment, dotenv_folders=folders).reveal()


def _is_literal(url: str) -> bool:
    return not url.startswith(("env:", "file:", "cmd:"))


def _without_password(url: str, environment: Mapping[str, str]) -> str:
    """The URL as it may stand in the file: the variable that holds it, where it is or could be a secret."""
    if not _is_literal(url) or _is_without_password(DatabaseUrl.parse(url)):
        return url
    holders = sorted((name for name, value in environment.items() if value == url), key=_usual_name_first)
    if not holders:
        raise errors.CF003.error(
            "found a password in the URL, expected a reference to where it is kept: the strategy file holds no secrets",
            hints=[errors.run("`export DATABASE_URL=postgresql://…`, then `safepoint init env:DATABASE_URL`")],
        )
    return f"env:{holders[0]}"


def _is_without_password(url: DatabaseUrl) -> bool:
    return url.redacted == url.reveal()


def _usual_name_first(variable: str) -> tuple[bool, str]:
    return variable != "DATABASE_URL", variable


def _find_direct_url(
    prisma: PrismaProject | None, base: Path, folders: Sequence[Path], environment: Mapping[str, str]
) -> str | None:
    """The reference Prisma uses past a pooler, when it leads somewhere."""
    reference = f"env:{prisma.direct_url_variable if prisma and prisma.direct_url_variable else 'DIRECT_URL'}"
    try:
        _resolve(reference, base, folders, environment)
    except SafepointError:
        return None
    return reference


def _replication_obstacle(database: DatabaseUrl) -> str | None:
    try:
        replication_connection(database).finish()
    except SafepointError as error:
        return error.message
    return None


def _data_within_reach(database: DatabaseUrl, facts: ServerFacts) -> Path | None:
    """The data directory when the server is on this host and its files can be read."""
    is_local = database.host in _LOCAL_HOSTS or str(database.host).startswith("/")
    if not is_local or facts.data_directory is None:
        return None
    data = Path(facts.data_directory)
    return data if os.access(data / "PG_VERSION", os.R_OK) else None


def _strategy_text(wishes: Wishes, found: Findings, name: str, repository: str | None) -> str:
    folder = found.prisma.migrations if found.prisma else None
    schema = found.database.schema or "public"
    root = wishes.directory.absolute()
    closed = [f"{ability.feature}: {ability.because}" for ability in found.abilities if ability.cure]
    return minimal_strategy(
        database=name,
        url=found.url,
        direct_url=found.direct_url,
        data=found.data,
        migrations=[FoundMigrations(name="prisma", folder=folder.relative_to(root), schema=schema)] if folder else [],
        repository=repository,
        key=wishes.key,
        notes=[f"PostgreSQL {found.facts.version}, role {found.facts.role}", *closed],
    )


def _facts(found: Findings) -> list[tuple[str, str]]:
    prisma = found.prisma.migrations if found.prisma else None
    archive = found.facts.archive_mode or "unknown"
    return [
        ("database", found.database.redacted),
        ("server", f"PostgreSQL {found.facts.version}, {'standby' if found.facts.is_in_recovery else 'primary'}"),
        ("data directory", str(found.data or "not within reach")),
        ("archiving", f"archive_mode {archive}"),
        ("migrations", str(prisma or "none found")),
        *((ability.feature, f"{ability.answer.value}: {ability.because}") for ability in found.abilities),
    ]


def _warnings(wishes: Wishes, found: Findings) -> list[str]:
    cures = [f"{ability.feature} is closed; to open it: {ability.cure}" for ability in found.abilities if ability.cure]
    store = store_warnings(located(wishes.repository, wishes.directory)) if wishes.repository else []
    key = [f"{KEY_LOST_STATEMENT}; keep a copy of {wishes.key} elsewhere"]
    notes = list(found.prisma.notes) if found.prisma else []
    return [*cures, *notes, *store, *(key if wishes.repository and wishes.key != "none" else [])]


def _create_repository(url: str, key: str, wishes: Wishes, environment: Mapping[str, str]) -> JsonObject:
    passphrase = None if key == "none" else resolve(key, base=wishes.directory, environment=environment).secret
    return make_or_open(url, passphrase, reference=key, allows_weak=wishes.allows_weak)


def _write_strategy(step: Step, _context: Context) -> JsonObject:
    path, text = Path(str(step.arguments["path"])), str(step.arguments["text"])
    try:
        create_durably(path, text.encode(), _READABLE)
    except FileExistsError as error:
        raise errors.CF005.error(
            f"found {path} written meanwhile, expected no strategy file there",
            changed="that file was left as it is; the repository named was made or opened",
            hints=[
                errors.ask("did somebody else initialise this folder just now?"),
                errors.run("see what it states: `safepoint status`"),
            ],
        ) from error
    except OSError as error:
        raise errors.CF007.error(
            f"found that {path} cannot be written ({(error.strerror or str(error)).lower()}), expected it to be",
            changed="nothing was changed, but for the repository named, which the same command will open again",
            hints=[errors.ask("may this user write there, and is there room?")],
        ) from error
    return {"path": str(path)}
