"""`safepoint migrate status` and `safepoint migrate deploy`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from safepoint import errors
from safepoint.migration.deploy import (
    DeploySettings,
    LockBudget,
    Survey,
    deploy_actions,
    open_deployment,
    plan_deploy,
    survey,
)
from safepoint.migration.deploy.plan import CONFIRM_ACTION
from safepoint.model.measures import format_duration
from safepoint.model.safety import SafetyDemand, SafetyFacts
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl
from safepoint.steps.execute import Observer, Run, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Plan
from safepoint.strategy import DatabaseStrategy, MigrationsStrategy, Platform
from safepoint.workflows.project import Project
from safepoint.workflows.safety import DEMAND, RepositorySafety


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A planned deployment and what it needs; `safety` None: the strategy has no repository."""

    plan: Plan
    url: DatabaseUrl
    schema: str
    safety: RepositorySafety | None

    @property
    def migrations(self) -> tuple[str, ...]:
        """What will have been applied."""
        confirm = (step for step in self.plan.steps if step.action == CONFIRM_ACTION)
        listed = [step.arguments["migrations"] for step in confirm]
        return tuple(str(name) for names in listed if isinstance(names, list | tuple) for name in names)

    def execute(self, observer: Observer) -> Run:
        """Every pending migration is applied and has its finished row; run again after a kill, it goes on."""
        if not self.plan.steps:
            return execute(self.plan, actions={}, journal=MemoryJournal(), observer=observer)
        with open_deployment(self.url, self.plan, schema=self.schema) as deployment:
            actions = deploy_actions(deployment, safety=self.safety)
            return execute(self.plan, actions=actions, journal=deployment.journal, observer=observer)


def survey_migrations(project: Project, name: str | None, application: str | None) -> Survey:
    """How folder and ledger compare now; CF004 when the strategy names no migrations."""
    database = project.strategy.database(name)
    migrations = _migrations(database, application)
    return survey(project.database_url(database), migrations.folder, schema=migrations.schema)


def prepare_deploy(
    project: Project,
    name: str | None,
    application: str | None,
    *,
    without_backup: str | None,
    demand: SafetyDemand = DEMAND,
) -> Deployment:
    """The plan of everything that is pending; CF004, PG010, MG001 … MG009 for what stops it. Changes nothing."""
    database = project.strategy.database(name)
    migrations = _migrations(database, application)
    url = project.database_url(database)
    _require_primary(url)
    limits = project.strategy.migrate
    settings = DeploySettings(
        locks=LockBudget(timeout=limits.lock_timeout, total=limits.lock_total),
        safety=demand,
        without_backup=without_backup,
    )
    safety = None if without_backup else _safety(project, database, url, demand)
    plan = plan_deploy(url, migrations.folder, schema=migrations.schema, settings=settings)
    if without_backup is None and plan.steps:
        plan = replace(plan, facts=tuple(_with_found(plan.facts, demand, safety)))
    return Deployment(plan=plan, url=url, schema=migrations.schema, safety=safety)


def _with_found(
    facts: Iterable[tuple[str, str]], demand: SafetyDemand, safety: RepositorySafety | None
) -> Iterable[tuple[str, str]]:
    """The plan's facts, where what is needed of a backup stands beside what is there now; the gate judges later."""
    needed = f"a backup {demand.proof.value}, not older than {format_duration(demand.max_age)}"
    for name, fact in facts:
        yield name, f"needed: {needed}; found: {_found(safety)}" if name == "backup" else fact


def _found(safety: RepositorySafety | None) -> str:
    if safety is None:
        return "unknown: no repository"
    try:
        facts = safety.now()
    except errors.SafepointError as error:
        return f"unknown: {error.message}"
    return describe_safety(facts)


def describe_safety(facts: SafetyFacts) -> str:
    """Which backup is there, how far it is proven and how old it is."""
    if facts.backup_id is None:
        return f"none but {facts.damaged} damaged" if facts.damaged else "none"
    proof = facts.proof.value if facts.proof else "of unknown proof"
    age = f"ended {format_duration(facts.backup_age)} ago" if facts.backup_age is not None else "of unknown age"
    behind = f", with a WAL gap after it from {facts.gap.start} up to {facts.gap.end}" if facts.gap else ""
    return f"{facts.backup_id}, {proof}, {age}{behind}"


def _migrations(database: DatabaseStrategy, application: str | None) -> MigrationsStrategy:
    if not database.migrations:
        raise errors.CF004.error(
            f"found no migrations of {database.name} in the strategy file, expected at least one application's",
            hints=[
                errors.ask("where does the application keep its migrations?"),
                errors.run(f'add: `[database.{database.name}.migrations.NAME]`, `folder = "prisma/migrations"`'),
            ],
        )
    return database.application(application)


def _require_primary(url: DatabaseUrl) -> None:
    with connect(url) as connection:
        row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    if row is None or row[0]:
        raise errors.PG010.error(
            f"found a server in recovery at {url.redacted}, expected the primary",
            hints=[errors.ask("does the URL lead to a standby, or to a copy restored with --no-promote?")],
        )


def _safety(
    project: Project, database: DatabaseStrategy, url: DatabaseUrl, demand: SafetyDemand
) -> RepositorySafety | None:
    if not project.strategy.repositories or database.platform is not Platform.SELF_MANAGED:
        return None
    return RepositorySafety(url=url, repository=project.repository(), database=database.name, demand=demand)
