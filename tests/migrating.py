"""Words for tests of deployments: a folder of files, a deployment of it, and what is there afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

from safepoint.migration.deploy import DeploySettings, LockBudget, deploy_actions, open_deployment, plan_deploy
from safepoint.model.safety import Safety
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl
from safepoint.steps.execute import Observer, Run, execute

HASTE = LockBudget(timeout=timedelta(milliseconds=300), total=timedelta(seconds=20))
UNSAFE = DeploySettings(locks=HASTE, without_backup="a test")


def folder_of(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """A migrations folder with these scripts by name, and nothing else."""
    folder = root / "migrations"
    folder.mkdir(exist_ok=True)
    (folder / "migration_lock.toml").write_text('provider = "postgresql"\n')
    for name, script in files.items():
        (folder / name).mkdir(exist_ok=True)
        content = script.encode() if isinstance(script, str) else script
        (folder / name / "migration.sql").write_bytes(content)
    return folder


def deploy(
    url: DatabaseUrl,
    folder: Path,
    *,
    settings: DeploySettings = UNSAFE,
    schema: str = "public",
    safety: Safety | None = None,
    observer: Observer | None = None,
) -> Run:
    """Plans and carries out, as the workflow does."""
    plan = plan_deploy(url, folder, schema=schema, settings=settings)
    with open_deployment(url, plan, schema=schema) as deployment:
        actions = deploy_actions(deployment, safety=safety)
        return execute(plan, actions=actions, journal=deployment.journal, observer=observer)


def ask(url: DatabaseUrl, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of one query, from a session of its own."""
    with connect(url) as connection:
        cursor = connection.execute(query.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def ledger(url: DatabaseUrl) -> list[tuple[str, bool]]:
    """Name and whether finished and exactly as Prisma leaves it, in the order of the rows."""
    return [
        (name, ok)
        for name, ok in ask(
            url,
            """
            SELECT migration_name, finished_at >= started_at AND rolled_back_at IS NULL AND logs IS NULL
                AND applied_steps_count = 1 AND length(id) = 36 FROM _prisma_migrations ORDER BY started_at
            """,
        )
    ]


def invalid_indexes(url: DatabaseUrl) -> list[str]:
    """What failed concurrent builds left behind."""
    return [name for (name,) in ask(url, "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bystander:
    """Another client's session, in a transaction that it leaves open."""

    connection: psycopg.Connection[Any]
    pid: int


@contextmanager
def open_transaction(url: DatabaseUrl, *statements: str) -> Iterator[Bystander]:
    """A session that has run the statements in a transaction and leaves it open until the context ends."""
    with connect(url, autocommit=False, application_name="bystander") as connection:
        for statement in statements:
            connection.execute(statement.encode())
        yield Bystander(connection=connection, pid=connection.info.backend_pid)
        if not connection.closed:
            connection.rollback()
