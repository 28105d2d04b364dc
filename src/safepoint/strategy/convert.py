"""From the validated tables of the file to the frozen values that other rooms see: inheritance and paths resolved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from safepoint.strategy import kinds, schema, values


def strategy_of(file: schema.FileTable, *, path: Path, raw: Mapping[str, Any]) -> values.Strategy:
    """The strategy that a consistent file states; `path` is absolute, relative paths are taken from its folder."""
    base = path.parent
    repositories = tuple(_repository(name, table, base) for name, table in file.repository.items())
    stated_migrate = {key: value for key, value in file.migrate if value is not None}
    return values.Strategy(
        path=path,
        databases=tuple(_database(name, file.database, base) for name in file.database),
        repositories=repositories,
        wal=tuple(_wal(name, table) for name, table in file.wal.items()),
        tiers=tuple(_tier(name, table, repositories) for name, table in file.tier.items()),
        drills=tuple(_drill(name, table) for name, table in file.drill.items()),
        scenarios=tuple(_scenario(name, table) for name, table in file.scenario.items()),
        migrate=replace(values.MigrateStrategy(), **stated_migrate),
        notify=values.NotifyStrategy(success=tuple(file.notify.success), failure=tuple(file.notify.failure)),
        stated=tuple(_leaves(raw)),
    )


def _database(name: str, tables: Mapping[str, schema.DatabaseTable], base: Path) -> values.DatabaseStrategy:
    """Inherits what belongs to the application (migrations, platform), never what says where a server is."""
    table = tables[name]
    parent = _database(table.of, tables, base) if table.of else None
    own = tuple(
        values.MigrationsStrategy(name=application, folder=base / entry.folder, schema=entry.schema_)
        for application, entry in table.migrations.items()
    )
    inherited = {entry.name: entry for entry in parent.migrations} if parent else {}
    return values.DatabaseStrategy(
        name=name,
        url=table.url,
        direct_url=table.direct_url,
        platform=table.platform or (parent.platform if parent else values.Platform.SELF_MANAGED),
        data=table.data,
        replica=table.replica,
        of=table.of,
        instance=table.instance,
        region=table.region,
        api=tuple(table.api),
        migrations=tuple((inherited | {entry.name: entry for entry in own}).values()),
    )


def _repository(name: str, table: schema.RepositoryTable, base: Path) -> values.RepositoryStrategy:
    url = replace(table.url, target=kinds.located(table.url.target, base)) if table.url.is_literal else table.url
    return values.RepositoryStrategy(name=name, url=url, key=table.key, sibling_of=table.sibling_of, mode=table.mode)


def _tier(
    name: str, table: schema.TierTable, repositories: tuple[values.RepositoryStrategy, ...]
) -> values.TierStrategy:
    return values.TierStrategy(
        name=name,
        keep=table.keep,
        kind=table.kind,
        schedule=table.schedule,
        compression=table.compression,
        repositories=tuple(table.repository) or (repositories[0].name,),
    )


def _wal(name: str, table: schema.WalTable) -> values.WalStrategy:
    return values.WalStrategy(
        name=name,
        keep=table.keep,
        repositories=tuple(table.repository),
        canary=table.canary,
        slot_limit=table.slot_limit,
    )


def _drill(name: str, table: schema.DrillTable) -> values.DrillStrategy:
    return values.DrillStrategy(name=name, schedule=table.schedule, target=table.target, queries=tuple(table.queries))


def _scenario(name: str, table: schema.ScenarioTable) -> values.ScenarioStrategy:
    return values.ScenarioStrategy(name=name, rto=table.rto, rpo=table.rpo, recover=table.recover)


def _leaves(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(cast("Mapping[str, Any]", value), (*path, name))
        else:
            yield (*path, name)
