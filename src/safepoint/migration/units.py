"""Statements become units, the pieces that are carried out, retried and journalled whole: pure.

One rule, whatever tool wrote the file: consecutive transactional statements form one transaction; a statement that
refuses transactions stands alone; an explicit BEGIN … COMMIT bounds a unit and is not sent itself; SET holds to the end
of its file, so that each later unit repeats it first; SET LOCAL ends with its transaction. A file always has a unit,
be it empty, so that its row has a transaction to be written in.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from safepoint import errors
from safepoint.model.json_value import JsonObject
from safepoint.postgres.parse import Statement, TransactionControl, split

_CHAIN = re.compile(r"\bAND\s+CHAIN\b", re.IGNORECASE)


class UnitKind(Enum):
    """How a unit is sent."""

    TRANSACTION = "transaction"
    ALONE = "alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The `number`-th unit of a migration, from 1. `begin` opens its transaction; `prelude` are the SETs before it."""

    migration: str
    number: int
    kind: UnitKind
    statements: tuple[Statement, ...]
    prelude: tuple[str, ...] = ()
    begin: str = "BEGIN"

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that follow from what is sent, and from nothing else."""
        content = [self.kind.value, self.begin, self.prelude, [statement.text for statement in self.statements]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    @property
    def lines(self) -> str:
        """Where it stands in its file: `line 4`, `lines 4 to 19`."""
        if not self.statements:
            return "no statements"
        first, last = self.statements[0].line, self.statements[-1].line
        return f"line {first}" if first == last else f"lines {first} to {last}"


def units_of(migration: str, statements: Sequence[Statement]) -> tuple[Unit, ...]:
    """The units of a file in order, at least one.

    Raises MG009 where BEGIN lacks its COMMIT, a transaction is given up, or one holds a statement that refuses it.
    """
    builder = _Builder(migration)
    for statement in statements:
        builder.take(statement)
    return builder.done()


def unit_to_json(unit: Unit) -> JsonObject:
    """What a plan keeps of a unit; `unit_from_json` gives back an equal one, but for offsets."""
    return {
        "migration": unit.migration,
        "unit": unit.number,
        "kind": unit.kind.value,
        "begin": unit.begin,
        "prelude": list(unit.prelude),
        "statements": [{"line": statement.line, "sql": statement.text} for statement in unit.statements],
    }


def unit_from_json(value: Any) -> Unit:
    """The unit that `unit_to_json` wrote: statements are parsed again, so that a plan needs to hold text only."""
    return Unit(
        migration=value["migration"],
        number=value["unit"],
        kind=UnitKind(value["kind"]),
        begin=value["begin"],
        prelude=tuple(value["prelude"]),
        statements=tuple(_statement(item) for item in value["statements"]),
    )


def _statement(value: Any) -> Statement:
    (statement,) = split(value["sql"])
    return replace(statement, line=value["line"])


@dataclass(slots=True)
class _Builder:
    migration: str
    units: list[Unit] = field(default_factory=list[Unit])
    open: list[Statement] = field(default_factory=list[Statement])
    settings: list[str] = field(default_factory=list[str])
    begun: Statement | None = None
    """The explicit BEGIN that the open unit is within."""

    def take(self, statement: Statement) -> None:
        if statement.is_transaction_control:
            self._control(statement)
        elif statement.cannot_run_in_transaction:
            self._alone(statement)
        else:
            self.open.append(statement)

    def done(self) -> tuple[Unit, ...]:
        if self.begun is not None:
            raise self._error(self.begun, "BEGIN without COMMIT", "a COMMIT before the end of the file")
        self._close()
        if not self.units:
            self._add(UnitKind.TRANSACTION, ())
        return tuple(self.units)

    def _control(self, statement: Statement) -> None:
        """PostgreSQL only warns of a BEGIN within a transaction and of a COMMIT without one; so both may stand."""
        if statement.control is TransactionControl.BEGIN:
            if self.begun is None:
                self._close()
                self.begun = statement
        elif statement.control is TransactionControl.COMMIT and not _CHAIN.search(statement.text):
            self._close()
            self.begun = None
        else:
            raise self._error(statement, statement.text, "statements that stay, in transactions that end with COMMIT")

    def _alone(self, statement: Statement) -> None:
        if self.begun is not None:
            found = f"{_shown(statement)} after the BEGIN of line {self.begun.line}"
            raise self._error(statement, found, "it outside of BEGIN … COMMIT: PostgreSQL refuses it in a transaction")
        self._close()
        self._add(UnitKind.ALONE, (statement,))

    def _close(self) -> None:
        if self.open:
            self._add(UnitKind.TRANSACTION, tuple(self.open))
            self.open.clear()

    def _add(self, kind: UnitKind, statements: tuple[Statement, ...]) -> None:
        unit = Unit(
            migration=self.migration,
            number=len(self.units) + 1,
            kind=kind,
            statements=statements,
            prelude=tuple(self.settings),
            begin=self.begun.text if self.begun is not None else "BEGIN",
        )
        self.units.append(unit)
        self.settings.extend(statement.text for statement in statements if statement.is_set)

    def _error(self, statement: Statement, found: str, expected: str) -> errors.SafepointError:
        return errors.MG009.error(
            f"found {found} in {self.migration}, line {statement.line}, expected {expected}",
            hints=[errors.run("mend the file before anybody applies it; where no transaction stands, one is made")],
        )


def _shown(statement: Statement) -> str:
    words = " ".join(statement.text.split())
    return words if len(words) <= 60 else words[:59] + "…"  # noqa: PLR2004 - fits a terminal with its sentence
