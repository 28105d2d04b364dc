"""The plan of a deployment: gate, ledger, one step per unit, and a last look. The pure part takes a survey only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from safepoint import errors
from safepoint.migration.deploy.gate import gate_step
from safepoint.migration.deploy.settings import DeploySettings, LockBudget, locks_to_json
from safepoint.migration.deploy.survey import Survey, require_ledger_or_empty, survey
from safepoint.migration.deploy.task import UnitTask, step_of
from safepoint.migration.ledger.journal import UnitEntry
from safepoint.migration.sources.prisma import MigrationFile
from safepoint.migration.status import require_deployable
from safepoint.migration.units import Unit, UnitKind, units_of
from safepoint.model.measures import format_duration
from safepoint.postgres.url import DatabaseUrl
from safepoint.steps.plan import Plan, Step

LEDGER_ACTION = "migrate.ledger"
CONFIRM_ACTION = "migrate.confirm"
_SHOWN = 5


def plan_deploy(
    url: DatabaseUrl, folder: Path, *, schema: str | None = None, settings: DeploySettings | None = None
) -> Plan:
    """What `migrate deploy` would do now; a plan without steps when nothing is pending. Changes nothing.

    Raises MG001, MG002, MG003, MG008, MG009 for what stops it, and the errors of a connection.
    """
    found = survey(url, folder, schema=schema)
    require_deployable(found.history)
    if found.history.pending_files:
        require_ledger_or_empty(url, found)
    return deploy_plan(found, settings or DeploySettings())


def deploy_plan(found: Survey, settings: DeploySettings) -> Plan:
    """The plan that follows from a survey: pure. MG009 for a file that does not parse, MG002 for one half applied."""
    files = found.history.pending_files
    units = {file.name: units_of(file.name, file.statements()) for file in files}
    tasks = [task for file in files for task in _tasks(file, units[file.name], found, settings.locks)]
    return Plan(
        verb="migrate deploy",
        subject=f"{found.database} schema {found.schema}",
        title=f"apply {len(files)} migrations to schema {found.schema}" if files else "nothing is pending",
        steps=_steps(found, files, tasks, settings) if files else (),
        facts=_facts(found, files, tasks, settings),
        warnings=(*found.warnings, *_lock_warnings(tasks), *_part_warnings(found, files)),
    )


def _steps(
    found: Survey, files: Sequence[MigrationFile], tasks: Sequence[UnitTask], settings: DeploySettings
) -> tuple[Step, ...]:
    ledger = Step(
        name="ledger",
        action=LEDGER_ACTION,
        title="make sure that Prisma's table is there",
        arguments={"schema": found.schema, "locks": locks_to_json(settings.locks)},
    )
    confirm = Step(
        name="confirm",
        action=CONFIRM_ACTION,
        title="see every row finished, and the standbys",
        arguments={"schema": found.schema, "migrations": [file.name for file in files]},
    )
    return (gate_step(settings, found.position), ledger, *(step_of(task) for task in tasks), confirm)


def _tasks(file: MigrationFile, units: Sequence[Unit], found: Survey, locks: LockBudget) -> Iterable[UnitTask]:
    """What is left of a file: all of it, or what follows the units that are committed; at least the row."""
    committed = {entry.unit: entry for entry in found.committed if entry.migration == file.name}
    for unit in units:
        _require_same(file, unit, committed.get(unit.number))
    if beyond := sorted(set(committed) - {unit.number for unit in units}):
        raise _half_applied(file, f"{len(units)} units", f"unit {beyond[-1]}, which is committed, to be among them")
    left = [unit for unit in units if unit.number not in committed] or [_row_only(units[-1])]
    for unit in left:
        yield UnitTask(unit=unit, of=left[-1].number, schema=found.schema, checksum=file.checksum, locks=locks)


def _row_only(last: Unit) -> Unit:
    """For a file whose last statement was settled by hand: a unit that writes its row."""
    return replace(last, number=last.number + 1, kind=UnitKind.TRANSACTION, statements=(), prelude=(), begin="BEGIN")


def _require_same(file: MigrationFile, unit: Unit, entry: UnitEntry | None) -> None:
    if entry is not None and entry.digest != unit.digest:
        raise _half_applied(file, f"unit {unit.number} ({unit.lines}) changed", "what an earlier run has committed")


def _half_applied(file: MigrationFile, found: str, expected: str) -> errors.SafepointError:
    return errors.MG002.error(
        f"found {found} in {file.title}, expected {expected}",
        hints=[
            errors.ask("was the file edited after a deployment stopped in the middle of it?"),
            errors.run(f"bring the committed part back as it was: `git log -p -- '*/{file.title}'`; mend what follows"),
        ],
    )


def _facts(
    found: Survey, files: Sequence[MigrationFile], tasks: Sequence[UnitTask], settings: DeploySettings
) -> tuple[tuple[str, str], ...]:
    locks, safety = settings.locks, settings.safety
    demand = f"{safety.proof.value}, not older than {format_duration(safety.max_age)}"
    alone = sum(task.unit.kind is UnitKind.ALONE for task in tasks)
    return (
        ("database", found.database),
        ("schema", found.schema),
        ("folder", found.folder),
        ("pending", _names(files)),
        ("units", f"{len(tasks) - alone} transactions, {alone} statements alone"),
        ("lock_timeout", f"{format_duration(locks.timeout)} an attempt, {format_duration(locks.total)} a unit"),
        ("backup", demand if settings.without_backup is None else f"none: {settings.without_backup}"),
    )


def _lock_warnings(tasks: Sequence[UnitTask]) -> Iterable[str]:
    for task in tasks:
        for statement in task.unit.statements:
            if "lock_timeout" in statement.settings:
                yield (
                    f"{task.unit.migration}, line {statement.line} sets lock_timeout; the strategy's "
                    f"{format_duration(task.locks.timeout)} holds instead"
                )


def _part_warnings(found: Survey, files: Sequence[MigrationFile]) -> Iterable[str]:
    names = {file.name for file in files}
    for entry in found.committed:
        if entry.migration in names:
            yield f"{entry.migration}: unit {entry.unit} was committed by an earlier run and is not repeated"


def _names(files: Sequence[MigrationFile]) -> str:
    names = [file.name for file in files]
    if len(names) > _SHOWN:
        return f"{len(names)} migrations, {names[0]} to {names[-1]}"
    return ", ".join(names) or "none"
