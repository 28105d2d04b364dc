"""What one key of the strategy file says about another: names that must exist, and things that must not be said twice.

Works on the raw document, however wrong its shape, so that these mistakes are told together with those of shape;
whatever has the wrong type is passed over here, because `schema` tells it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, cast

from safepoint.strategy import kinds
from safepoint.strategy.mistakes import Finding, dotted
from safepoint.strategy.values import Platform, RepositoryMode

Raw = Mapping[str, Any]

_PLATFORM_KEYS: Mapping[str, tuple[str, ...]] = {
    "self-managed": (),
    "patroni": ("api",),
    "rds": ("instance", "region"),
}
_FILES_WITHIN_REACH = ("self-managed", "patroni")
_A_TABLE = 2
"""Parts of the path of [section.NAME]."""
_NAMED = ("database", "repository", "tier", "drill", "scenario")


def inconsistencies(raw: Raw) -> tuple[Finding, ...]:
    """Every mistake of this kind, in no particular order."""
    return tuple(finding for check in _CHECKS for finding in check(raw))


def tables(raw: Raw, section: str) -> dict[str, Raw]:
    """The tables of a section by name, without those that are no tables."""
    found = raw.get(section)
    if not isinstance(found, dict):
        return {}
    items = cast("dict[str, Any]", found).items()
    return {name: cast("Raw", table) for name, table in items if isinstance(table, dict)}


def platform_of(databases: Mapping[str, Raw], name: str) -> str:
    """The platform that a database states or inherits; self-managed if nobody says."""
    seen: set[str] = set()
    while name in databases and name not in seen:
        seen.add(name)
        table = databases[name]
        if isinstance(table.get("platform"), str):
            return table["platform"]
        name = table["of"] if isinstance(table.get("of"), str) else ""
    return Platform.SELF_MANAGED.value


def _texts(value: object) -> list[tuple[int, str]]:
    """The strings of a value that may be one string or an array of them, with their index."""
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return [(index, item) for index, item in enumerate(items) if isinstance(item, str)]


def _unknown_name(path: tuple[str | int, ...], name: str, section: str, known: Mapping[str, Raw]) -> Finding:
    names = ", ".join(known) or "none"
    close = get_close_matches(name, known, n=1)
    question = f'; did you mean "{close[0]}"?' if close else ""
    text = f"found {kinds.quoted(name)}, expected the name of a [{section}] (known: {names}){question}"
    return Finding(path=path, text=text, at_key=path[0] == "wal" and len(path) == _A_TABLE)


def _no_database(raw: Raw) -> Iterator[Finding]:
    if not raw.get("database"):
        yield Finding(path=(), text="found no database, expected at least one [database.NAME]")


def _bad_names(raw: Raw) -> Iterator[Finding]:
    named = [(section, name) for section in _NAMED for name in tables(raw, section)]
    for name, table in tables(raw, "database").items():
        named += [("database", name, "migrations", application) for application in tables(table, "migrations")]
    for path in named:
        try:
            kinds.name(path[-1])
        except ValueError as error:
            yield Finding(path=path, text=str(error), at_key=True)


def _dangling(raw: Raw) -> Iterator[Finding]:
    databases, repositories = tables(raw, "database"), tables(raw, "repository")
    for name in tables(raw, "wal"):
        if name not in databases:
            yield _unknown_name(("wal", name), name, "database", databases)
    for section, key, known in (("database", "of", databases), ("repository", "sibling_of", repositories)):
        for name, table in tables(raw, section).items():
            for _, other in _texts(table.get(key)):
                if other not in known:
                    yield _unknown_name((section, name, key), other, section, known)
    for section in ("tier", "wal"):
        yield from _dangling_repositories(raw, section)


def _dangling_repositories(raw: Raw, section: str) -> Iterator[Finding]:
    repositories = tables(raw, "repository")
    for name, table in tables(raw, section).items():
        for index, other in _texts(table.get("repository")):
            if other not in repositories:
                yield _unknown_name((section, name, "repository", index), other, "repository", repositories)


def _cycles(raw: Raw) -> Iterator[Finding]:
    for section, key in (("database", "of"), ("repository", "sibling_of")):
        named = tables(raw, section)
        reported: set[str] = set()
        for name in named:
            cycle = _cycle_from(name, named, key)
            if cycle and not reported.intersection(cycle):
                reported.update(cycle)
                chain = " → ".join(kinds.quoted(link) for link in (*cycle, cycle[0]))
                yield Finding(path=(section, name, key), text=f"found a circle {chain}, expected an end")


def _cycle_from(name: str, named: Mapping[str, Raw], key: str) -> tuple[str, ...]:
    """The circle that a name stands in; empty if it stands in none."""
    chain = [name]
    while isinstance(following := named[chain[-1]].get(key), str) and following in named:
        if following == name:
            return tuple(chain)
        if following in chain:
            return ()
        chain.append(following)
    return ()


def _same_url(raw: Raw) -> Iterator[Finding]:
    wanted = {"database": "a database of its own", "repository": "another place: a copy beside itself is no copy"}
    for section, expected in wanted.items():
        first: dict[str, str] = {}
        for name, table in tables(raw, section).items():
            for _, url in _texts(table.get("url")):
                other = first.setdefault(url, name)
                if other != name:
                    text = f"found the url of {dotted((section, other))} again, expected {expected}"
                    yield Finding(path=(section, name, "url"), text=text)


def _same_repository(raw: Raw) -> Iterator[Finding]:
    for section in ("tier", "wal"):
        for name, table in tables(raw, section).items():
            seen: set[str] = set()
            for index, other in _texts(table.get("repository")):
                if other in seen:
                    text = f"found {kinds.quoted(other)} again, expected each repository once"
                    yield Finding(path=(section, name, "repository", index), text=text)
                seen.add(other)


def _wal_needs_a_required_one(raw: Raw) -> Iterator[Finding]:
    """Somebody must hold what is acknowledged to a server."""
    repositories = tables(raw, "repository")
    for name, table in tables(raw, "wal").items():
        named = [repositories[other] for _, other in _texts(table.get("repository")) if other in repositories]
        if named and all(other.get("mode") == RepositoryMode.EVENTUAL.value for other in named):
            text = 'found only repositories of mode "eventual", expected a required one to refill them from'
            yield Finding(path=("wal", name, "repository"), text=text)


def _shared_folders(raw: Raw) -> Iterator[Finding]:
    for name, table in tables(raw, "database").items():
        first: dict[tuple[str, str], str] = {}
        for application, migrations in tables(table, "migrations").items():
            folder, schema = migrations.get("folder"), migrations.get("schema", "public")
            if not isinstance(folder, str) or not isinstance(schema, str):
                continue
            other = first.setdefault((folder.rstrip("/"), schema), application)
            if other != application:
                path = ("database", name, "migrations", application, "folder")
                text = (
                    f"found the folder and schema of {dotted((other,))} again, expected one application for one ledger"
                )
                yield Finding(path=path, text=text)


def _platform_keys(raw: Raw) -> Iterator[Finding]:
    databases = tables(raw, "database")
    for name, table in databases.items():
        platform = platform_of(databases, name)
        if platform not in _PLATFORM_KEYS:
            continue
        for key in _PLATFORM_KEYS[platform]:
            if key not in table:
                yield Finding(
                    path=("database", name, key), text=f'found nothing, expected {key}, for platform is "{platform}"'
                )
        yield from _keys_of_others(name, table, platform)


def _keys_of_others(name: str, table: Raw, platform: str) -> Iterator[Finding]:
    for other, keys in _PLATFORM_KEYS.items():
        for key in keys:
            if other != platform and key in table:
                text = f'found {key} with platform "{platform}", expected it with platform "{other}" only'
                yield Finding(path=("database", name, key), text=text, at_key=True)
    if platform not in _FILES_WITHIN_REACH and "data" in table:
        text = f'found a data directory with platform "{platform}", expected none: its files are out of reach'
        yield Finding(path=("database", name, "data"), text=text, at_key=True)


def _nowhere_to_keep(raw: Raw) -> Iterator[Finding]:
    """Backups and WAL need a repository; WAL a required one."""
    repositories = tables(raw, "repository")
    if not raw.get("repository"):
        for section in ("wal", "tier"):
            for name in tables(raw, section):
                text = "found no repository to keep this in, expected at least one [repository.NAME]"
                yield Finding(path=(section, name), text=text, at_key=True)
    elif repositories and all(table.get("mode") == RepositoryMode.EVENTUAL.value for table in repositories.values()):
        text = 'found only repositories of mode "eventual", expected a required one to refill them from'
        yield Finding(path=("repository", next(iter(repositories)), "mode"), text=text)


def _lock_budget(raw: Raw) -> Iterator[Finding]:
    migrate = raw.get("migrate")
    if not isinstance(migrate, dict):
        return
    try:
        one, total = (kinds.duration(cast("Raw", migrate)[key]) for key in ("lock_timeout", "lock_total"))
    except (KeyError, TypeError, ValueError):
        return
    if one > total:
        text = "found less than one lock_timeout, expected time for at least one attempt"
        yield Finding(path=("migrate", "lock_total"), text=text)


_CHECKS: tuple[Callable[[Raw], Iterator[Finding]], ...] = (
    _no_database,
    _bad_names,
    _dangling,
    _cycles,
    _same_url,
    _same_repository,
    _wal_needs_a_required_one,
    _shared_folders,
    _platform_keys,
    _nowhere_to_keep,
    _lock_budget,
)
