"""How a unit that did not go through is told: what PostgreSQL said, where, and what of its file stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from safepoint import errors
from safepoint.migration.answers import one_line
from safepoint.migration.deploy.attempts import Patience
from safepoint.migration.deploy.blockers import Blocker
from safepoint.migration.deploy.task import UnitTask
from safepoint.migration.sources.prisma import SCRIPT
from safepoint.migration.units import UnitKind
from safepoint.model.measures import format_duration
from safepoint.postgres.parse import Statement

_SETTLE = "UPDATE safepoint.journal SET event = 'finished' WHERE number = {}"
_FORGET = "DELETE FROM safepoint.journal WHERE number = {}"
_CAUSES: dict[str, str] = {
    "2D000": "does the procedure commit by itself? it must be called outside of migrations",
    "23505": "do rows exist that are equal in the columns of the new index?",
    "25001": "does it refuse transactions for a reason that its text does not show?",
    "42501": "does this role own what it changes? migrations run as the owner",
    "42P01": "was the table made outside of migrations in the database where the file was tried?",
    "42P07": "was it created here by hand, or by a run of the raw file?",
    "42701": "was the column added here by hand, or by a run of the raw file?",
    "55P04": "is a new enum value used in the transaction that adds it? the use belongs into the next migration",
    "57014": "did statement_timeout, set in the file, or a person cancel it?",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An attempt that was rolled back, or lost: where it ended (no statement: at `stage`) and who blocked it."""

    error: psycopg.Error
    statement: Statement | None
    stage: str = "COMMIT"
    blockers: Sequence[Blocker] = ()


def statement_failed(task: UnitTask, failure: Failure, *, kept: str | None = None) -> errors.SafepointError:
    """MG004: the unit was taken back, and nothing like a failed row blocks anybody. `kept`: what could not be."""
    error = failure.error
    said = one_line(error.diag.message_primary or str(error)) or type(error).__name__
    return errors.MG004.error(
        f"found {error.sqlstate or 'no SQLSTATE'} {said} at {place_of(task, failure)}, expected it to be carried out",
        changed=_changed(task, kept),
        hints=[
            errors.ask(
                _CAUSES.get(error.sqlstate or "", error.diag.message_hint or "does the data fit the statement?")
            ),
            *(
                [errors.ask(f"PostgreSQL adds: {one_line(error.diag.message_detail)}")]
                if error.diag.message_detail
                else []
            ),
            errors.run("mend the data or the file, which no ledger holds yet; then `safepoint migrate deploy` goes on"),
        ],
    )


def locked_out(
    task: UnitTask, failure: Failure | None, patience: Patience, blockers: Sequence[Blocker] = ()
) -> errors.SafepointError:
    """MG005: the budget is spent; who was in the way, as last seen."""
    seen = blockers or (failure.blockers if failure else ())
    names = "; ".join(map(str, seen[:3])) or "a session that was gone before it could be named"
    where = place_of(task, failure) if failure else task.title
    end = [errors.run(f"end it: `SELECT pg_terminate_backend({first.pid})`") for first in seen[:1] if first.pid]
    hints = [
        errors.ask("is a transaction left open, or a long report running?"),
        *end,
        errors.run("or try at a quieter hour: `safepoint migrate deploy` goes on where it stopped"),
    ]
    return errors.MG005.error(
        f"found {where} blocked by {names} through {max(1, patience.attempts)} attempts in "
        f"{format_duration(patience.spent)}, expected its locks within {format_duration(patience.locks.total)}",
        changed=_changed(task, kept_of(task)),
        hints=hints,
    )


def unknown_outcome(task: UnitTask, number: int) -> errors.SafepointError:
    """MG010: a statement that may have been carried out and cannot be repeated; `number` is its journal entry."""
    (statement,) = task.unit.statements
    return errors.MG010.error(
        f"found line {statement.line} of {task.unit.migration}/{SCRIPT} begun by a run that ended before the answer, "
        "expected to know how it ended",
        changed=_changed(task, "whether that statement was carried out is unknown"),
        hints=[
            errors.ask(f"look at the database: was it carried out? {' '.join(statement.text.split())[:120]}"),
            errors.run(f"if it was: `{_SETTLE.format(number)}`"),
            errors.run(f"if it was not: `{_FORGET.format(number)}`"),
            errors.run("then `safepoint migrate deploy` goes on"),
        ],
    )


def connection_lost(task: UnitTask, error: psycopg.Error) -> errors.SafepointError:
    """PG004: the session ended and nothing could settle the unit."""
    return errors.PG004.error(
        f"found the connection lost in {task.title} ({one_line(str(error))}), expected it to last",
        changed="whether that unit is committed stands in the journal; the next run reads it first",
        hints=[errors.run("once the server answers again: `safepoint migrate deploy` goes on")],
    )


def kept_of(task: UnitTask) -> str | None:
    """What a statement that stands alone may leave behind when it does not go through; None for a transaction."""
    if task.unit.kind is UnitKind.TRANSACTION:
        return None
    (statement,) = task.unit.statements
    if statement.index is not None:
        return "no invalid index was left"
    return "the statement stands alone: what it did before it ended stays"


def place_of(task: UnitTask, failure: Failure) -> str:
    """`line 7 of 20250114093015_init/migration.sql`, the line PostgreSQL pointed at; or the COMMIT of the unit."""
    if failure.statement is None:
        return f"the {failure.stage} of {task.title}"
    return f"line {_line(failure.statement, failure.error)} of {task.unit.migration}/{SCRIPT}"


def _line(statement: Statement, error: psycopg.Error) -> int:
    position = int(error.diag.statement_position or 1)
    return statement.line + statement.text.count("\n", 0, position - 1)


def _changed(task: UnitTask, kept: str | None) -> str:
    before = task.unit.number - 1
    own = kept or "this unit was rolled back"
    stays = "nothing of this file is committed" if not before else f"of this file, units 1 to {before} are committed"
    if before == 1:
        stays = "of this file, unit 1 is committed"
    return f"{own}; {stays}; no row was written, so other deployments are not blocked (Prisma leaves a failed row)"
