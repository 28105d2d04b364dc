"""The strategy file: safepoint.toml in, a frozen Strategy out. pydantic at the edge only.

Reading order: `values` (what comes out) · `load` (find, read, judge) · `schema`, `consistency`, `kinds`, `schedule`
(what is right) · `positions`, `mistakes` (where it is wrong) · `references`, `dotenv` (secrets, fetched where they are
used) · `prisma_project`, `minimal` (what `init` reads and writes) · `report` (JSON, and what no verb acts on yet).
"""

from __future__ import annotations

from safepoint.strategy.load import FILE_NAME, find_strategy, load_strategy, mistakes_in, parse_strategy
from safepoint.strategy.minimal import FoundMigrations, FoundRds, minimal_strategy, name_for
from safepoint.strategy.prisma_project import PrismaProject, read_prisma_project
from safepoint.strategy.references import Resolved, resolve, resolve_in
from safepoint.strategy.report import strategy_to_json, unused_in_this_version
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
