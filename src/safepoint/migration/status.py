"""How the folder and the ledger compare: pure, the one judgement behind `migrate status` and `migrate deploy`.

Prisma's deploy looks at failed rows only and is silent about the rest; what it would do is said where we differ.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from safepoint import errors
from safepoint.migration.ledger.row import LedgerRow
from safepoint.migration.sources.prisma import MigrationFile
from safepoint.model.json_value import Json
from safepoint.model.measures import format_instant


class State(Enum):
    """Where one migration stands. The first that fits, from the top."""

    FAILED = "failed"
    MISSING = "missing"
    EDITED = "edited"
    APPLIED = "applied"
    PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One migration by name: its file (None: not in the folder) and every row of the ledger, oldest first.

    `is_out_of_order`: pending, and a later one is applied. `was_rolled_back`: pending again after `migrate resolve`.
    """

    name: str
    state: State
    file: MigrationFile | None
    rows: tuple[LedgerRow, ...]
    is_out_of_order: bool = False

    @property
    def was_rolled_back(self) -> bool:
        """Whether an earlier attempt was given up and none has finished since."""
        return self.state is State.PENDING and bool(self.rows)

    @property
    def row(self) -> LedgerRow | None:
        """The row that decides: the failed one, else the applied one."""
        failed = (row for row in self.rows if row.is_failed)
        applied = (row for row in self.rows if row.is_applied)
        return next(failed, None) or next(applied, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Every migration of folder and ledger, in the order of the names' bytes."""

    migrations: tuple[Migration, ...]

    def of(self, state: State) -> tuple[Migration, ...]:
        """Those in that state."""
        return tuple(migration for migration in self.migrations if migration.state is state)

    @property
    def pending_files(self) -> tuple[MigrationFile, ...]:
        """What a deployment would apply, in order."""
        return tuple(migration.file for migration in self.of(State.PENDING) if migration.file is not None)

    @property
    def is_up_to_date(self) -> bool:
        """Nothing pending, failed or edited."""
        return all(migration.state in {State.APPLIED, State.MISSING} for migration in self.migrations)


def compare(files: Sequence[MigrationFile], rows: Iterable[LedgerRow]) -> History:
    """Each name once, with its state."""
    rows_of: dict[str, list[LedgerRow]] = {}
    for row in sorted(rows, key=lambda row: row.started_at):
        rows_of.setdefault(row.migration_name, []).append(row)
    file_of = {file.name: file for file in files}
    names = sorted({*file_of, *rows_of}, key=os.fsencode)
    migrations = [_migration(name, file_of.get(name), rows_of.get(name, ())) for name in names]
    return History(migrations=tuple(_with_order(migrations)))


def require_deployable(history: History) -> None:
    """Nothing when a deployment may begin; MG001 for a failed row, MG002 for an applied file that was edited."""
    for migration in history.of(State.FAILED):
        raise _failed(migration)
    for migration in history.of(State.EDITED):
        raise _edited(migration)


def warnings_of(history: History) -> tuple[str, ...]:
    """What is odd and does not stop a deployment, each with what Prisma makes of it."""
    missing = [
        f"{migration.name} is applied here and not in the folder; deploy goes on, as Prisma's does, "
        "but `prisma migrate dev` would want to reset the database"
        for migration in history.of(State.MISSING)
    ]
    late = [
        f"{migration.name} is older than migrations applied here; deploy applies it now, after them, as Prisma's does"
        for migration in history.migrations
        if migration.is_out_of_order
    ]
    return (*missing, *late)


def history_to_json(history: History) -> list[Json]:
    """One object per migration, for `--json`."""
    return [_migration_to_json(migration) for migration in history.migrations]


def _migration(name: str, file: MigrationFile | None, rows: Sequence[LedgerRow]) -> Migration:
    return Migration(name=name, state=_state(file, rows), file=file, rows=tuple(rows))


def _state(file: MigrationFile | None, rows: Sequence[LedgerRow]) -> State:
    if any(row.is_failed for row in rows):
        return State.FAILED
    if file is None:
        return State.MISSING
    applied = [row for row in rows if row.is_applied]
    if not applied:
        return State.PENDING
    return State.APPLIED if any(file.matches(row.checksum) for row in applied) else State.EDITED


def _with_order(migrations: Sequence[Migration]) -> Iterable[Migration]:
    done = [index for index, migration in enumerate(migrations) if any(row.is_applied for row in migration.rows)]
    last = max(done, default=-1)
    for index, migration in enumerate(migrations):
        is_late = migration.state is State.PENDING and index < last
        yield Migration(
            name=migration.name,
            state=migration.state,
            file=migration.file,
            rows=migration.rows,
            is_out_of_order=is_late,
        )


def _failed(migration: Migration) -> errors.SafepointError:
    row = next(row for row in migration.rows if row.is_failed)
    said = f" ({row.logs.strip().splitlines()[0]})" if row.logs and row.logs.strip() else ""
    return errors.MG001.error(
        f"found {migration.name} begun at {format_instant(row.started_at)} and never finished{said}, "
        "expected every row finished or rolled back",
        hints=[
            errors.ask("did a `prisma migrate deploy` break off in the middle of it?"),
            errors.run(
                "see what of it is in the database and take it back, then: "
                f"`npx prisma migrate resolve --rolled-back '{migration.name}'`"
            ),
            errors.run(f"or finish it by hand, then: `npx prisma migrate resolve --applied '{migration.name}'`"),
        ],
    )


def _edited(migration: Migration) -> errors.SafepointError:
    row = migration.row
    file = migration.file
    assert row is not None  # noqa: S101 - what EDITED means
    assert file is not None  # noqa: S101
    return errors.MG002.error(
        f"found {file.title} with checksum {file.checksum[:12]}…, expected {row.checksum[:12]}… "
        f"as applied at {format_instant(row.started_at)}",
        hints=[
            errors.ask("was the file edited or merged after it was applied here?"),
            errors.run(f"bring the applied version back: `git log --oneline -- '*/{file.title}'`, then `git checkout`"),
            errors.run("put what was added into a migration of its own: `npx prisma migrate dev --create-only`"),
        ],
    )


def _migration_to_json(migration: Migration) -> Json:
    row = migration.row
    return {
        "name": migration.name,
        "state": migration.state.value,
        "out_of_order": migration.is_out_of_order,
        "rolled_back": migration.was_rolled_back,
        "started_at": row.started_at.isoformat() if row else None,
        "finished_at": row.finished_at.isoformat() if row and row.finished_at else None,
    }
