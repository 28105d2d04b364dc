"""The strategy file: safepoint.toml in, a frozen Strategy out. pydantic at the edge only.

Reading order: `values` (what comes out) · `load`, `memory` (find, read) · `judge` · `schema`, `consistency`, `kinds`,
`schedule` (what is right) · `positions`, `mistakes` (where it is wrong) · `references`, `dotenv`, `secret_commands`
(secrets, fetched where they are used) · `prisma_project`, `minimal` (what `init` reads and writes) · `report` (JSON,
and what no verb acts on yet). What few commands need is imported when it is first named here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from safepoint.strategy.load import FILE_NAME, find_strategy, load_strategy
from safepoint.strategy.references import Resolved, resolve, resolve_in
from safepoint.strategy.values import (
    BackupKind,
    ContractTrigger,
    DatabaseStrategy,
    DrillStrategy,
    DrillTarget,
    MigrateStrategy,
    MigrationsStrategy,
    NotifyStrategy,
    Platform,
    Recover,
    Reference,
    ReferenceScheme,
    RepositoryMode,
    RepositoryStrategy,
    ScenarioStrategy,
    Schedule,
    Strategy,
    TierStrategy,
    Unrepresentable,
    WalStrategy,
)

if TYPE_CHECKING:
    from safepoint.strategy.judge import mistakes_in, parse_strategy
    from safepoint.strategy.minimal import FoundMigrations, FoundRds, minimal_strategy, name_for
    from safepoint.strategy.prisma_project import PrismaProject, read_prisma_project
    from safepoint.strategy.report import strategy_to_json, unused_in_this_version

_WHERE = {
    "FoundMigrations": "minimal",
    "FoundRds": "minimal",
    "PrismaProject": "prisma_project",
    "minimal_strategy": "minimal",
    "mistakes_in": "judge",
    "name_for": "minimal",
    "parse_strategy": "judge",
    "read_prisma_project": "prisma_project",
    "strategy_to_json": "report",
    "unused_in_this_version": "report",
}

__all__ = [
    "FILE_NAME",
    "BackupKind",
    "ContractTrigger",
    "DatabaseStrategy",
    "DrillStrategy",
    "DrillTarget",
    "FoundMigrations",
    "FoundRds",
    "MigrateStrategy",
    "MigrationsStrategy",
    "NotifyStrategy",
    "Platform",
    "PrismaProject",
    "Recover",
    "Reference",
    "ReferenceScheme",
    "RepositoryMode",
    "RepositoryStrategy",
    "Resolved",
    "ScenarioStrategy",
    "Schedule",
    "Strategy",
    "TierStrategy",
    "Unrepresentable",
    "WalStrategy",
    "find_strategy",
    "load_strategy",
    "minimal_strategy",
    "mistakes_in",
    "name_for",
    "parse_strategy",
    "read_prisma_project",
    "resolve",
    "resolve_in",
    "strategy_to_json",
    "unused_in_this_version",
]


def __getattr__(name: str) -> Any:
    """One of those that few commands need, imported now (PEP 562)."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
