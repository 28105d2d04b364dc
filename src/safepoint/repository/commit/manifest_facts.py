"""What a manifest says of the cluster beside its files, as JSON and back: tablespaces, damage, settings, roles.

Reading trusts nothing, as in `manifest`: KeyError, TypeError or ValueError for what is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from safepoint.model.backup import ClusterFacts, DamagedPage, DatabaseFacts, Tablespace
from safepoint.model.json_value import Json

_LIMIT = 1 << 32
"""Block numbers and object ids are of 32 bits."""


def tablespaces_to_json(tablespaces: Sequence[Tablespace]) -> list[Json]:
    """[[oid, name, location] …]."""
    return [[space.oid, space.name, space.location] for space in tablespaces]


def tablespaces_of(value: Any) -> tuple[Tablespace, ...]:
    """What `tablespaces_to_json` wrote."""
    return tuple(
        Tablespace(oid=_number(oid), name=_text(name), location=_text(location)) for oid, name, location in _list(value)
    )


def damage_to_json(pages: Sequence[DamagedPage]) -> list[Json]:
    """[[path, block] …]."""
    return [[page.path, page.block] for page in pages]


def damage_of(value: Any) -> tuple[DamagedPage, ...]:
    """What `damage_to_json` wrote."""
    return tuple(DamagedPage(path=_text(path), block=_number(block)) for path, block in _list(value))


def pairs_to_json(pairs: Sequence[tuple[str, str]]) -> list[Json]:
    """[[one, other] …]."""
    return [[one, other] for one, other in pairs]


def pairs_of(value: Any) -> tuple[tuple[str, str], ...]:
    """What `pairs_to_json` wrote."""
    return tuple((_text(one), _text(other)) for one, other in _list(value))


def facts_to_json(facts: ClusterFacts) -> dict[str, Json]:
    """An object of four fields."""
    databases: list[Json] = [
        {
            "name": found.name,
            "encoding": found.encoding,
            "locale_provider": found.locale_provider,
            "collation": found.collation,
            "collation_version": found.collation_version,
            "extensions": pairs_to_json(found.extensions),
        }
        for found in facts.databases
    ]
    return {
        "settings": pairs_to_json(facts.settings),
        "roles": list(facts.roles),
        "databases": databases,
        "strategy": facts.strategy,
    }


def facts_of(value: Any) -> ClusterFacts:
    """What `facts_to_json` wrote."""
    return ClusterFacts(
        settings=pairs_of(value["settings"]),
        roles=tuple(map(_text, _list(value["roles"]))),
        databases=tuple(map(_database_of, _list(value["databases"]))),
        strategy=_text(value["strategy"]),
    )


def _database_of(value: Any) -> DatabaseFacts:
    version = value["collation_version"]
    return DatabaseFacts(
        name=_text(value["name"]),
        encoding=_text(value["encoding"]),
        locale_provider=_text(value["locale_provider"]),
        collation=_text(value["collation"]),
        collation_version=None if version is None else _text(version),
        extensions=pairs_of(value["extensions"]),
    )


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"found {value!r}, expected a list")  # noqa: TRY004 - data, no mistake
    return cast("list[Any]", value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"found {value!r}, expected text")  # noqa: TRY004 - data, no mistake
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LIMIT:
        raise ValueError(f"found {value!r}, expected a number of 32 bits")
    return value
