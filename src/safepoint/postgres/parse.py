"""The one door to PostgreSQL's parser: a script becomes statements that know what they may and may not do.

Decides nothing about a database. Offsets are characters of the text given, half-open, without the comments before a
statement and without its semicolon; lines and columns count from 1. Which statements refuse to run inside a
transaction block follows PostgreSQL 18: every caller of PreventInTransactionBlock in src/backend/tcop/utility.c,
src/backend/commands and src/backend/replication.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import postgast

from safepoint import errors

_BYTE_ORDER_MARK = "\ufeff"
_META_COMMAND = re.compile(r"\\([A-Za-z!?]+|\.)")


class TransactionControl(Enum):
    """What a statement does to the transaction around it."""

    BEGIN = "BEGIN"
    COMMIT = "COMMIT"
    ROLLBACK = "ROLLBACK"
    SAVEPOINT = "SAVEPOINT"
    TWO_PHASE = "PREPARE TRANSACTION"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexTarget:
    """The index that CREATE or DROP INDEX CONCURRENTLY is about; schema and table None where the text has none."""

    schema: str | None
    name: str
    table_schema: str | None = None
    table: str | None = None
    is_unique: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement: its text, where it stands, and what PostgreSQL calls its kind (`IndexStmt`).

    `is_set` holds for what changes a setting of the session (SET, RESET, SELECT set_config(…, false)); `is_local_set`
    for SET LOCAL and SET TRANSACTION, which end with their transaction. `is_repeatable` holds for a statement outside
    transactions that may simply be run again when nobody knows whether it was carried out.
    """

    text: str
    start: int
    end: int
    line: int
    column: int
    kind: str
    control: TransactionControl | None = None
    settings: tuple[str, ...] = ()
    is_set: bool = False
    is_local_set: bool = False
    is_concurrent: bool = False
    cannot_run_in_transaction: bool = False
    is_repeatable: bool = False
    index: IndexTarget | None = None

    @property
    def is_transaction_control(self) -> bool:
        """BEGIN, COMMIT, ROLLBACK and their kin; a savepoint stays inside its transaction and is none."""
        return self.control is not None and self.control is not TransactionControl.SAVEPOINT


def decode(content: bytes, *, name: str = "script") -> str:
    """The text of a file in UTF-8, without a byte order mark; MG009 for any other encoding or a zero byte."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise errors.MG009.error(
            f"found byte 0x{content[error.start]:02x} in {name}, line {line}, expected UTF-8",
            hints=[
                errors.ask("was the file saved as Latin-1, Windows-1252 or UTF-16?"),
                errors.run("convert it before anybody applies it: `iconv -f WINDOWS-1252 -t UTF-8`"),
            ],
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise errors.MG009.error(
            f"found a zero byte in {name}, line {line}, expected text that PostgreSQL can read",
            hints=[errors.ask("was the file cut off by a crash, or saved as UTF-16?")],
        )
    return text.removeprefix(_BYTE_ORDER_MARK)


def split(text: str, *, name: str = "script") -> tuple[Statement, ...]:
    """The statements of `text` in order; none for a script of comments only.

    Raises MG009 with line, column and PostgreSQL's words where it does not parse, for psql's own commands, and for
    COPY from or to the client, which needs psql.
    """
    try:
        parsed = postgast.parse(text)
    except postgast.PgQueryError as error:
        raise _syntax_error(text, error, name) from error
    cursor = _Cursor(text, text.encode())
    statements = tuple(_statement(raw, cursor) for raw in parsed.stmts)
    for statement, raw in zip(statements, parsed.stmts, strict=True):
        _refuse_client_copy(statement, raw, name)
    return statements


class _Cursor:
    """Turns byte offsets, given in rising order, into character offsets, lines and columns."""

    def __init__(self, text: str, encoded: bytes) -> None:
        self._text = text
        self._encoded = encoded
        self._byte = 0
        self._character = 0
        self._placed = 0
        self._line = 1

    def character(self, byte: int) -> int:
        self._character += len(self._encoded[self._byte : byte].decode())
        self._byte = byte
        return self._character

    def cut(self, location: int, length: int) -> tuple[int, int, str]:
        stop = location + length if length else len(self._encoded)
        start, end = self.character(location), self.character(stop)
        piece = self._text[start:end]
        leading = len(piece) - len(piece.lstrip())
        return start + leading, end - (len(piece) - len(piece.rstrip())), piece.strip()

    def place(self, character: int) -> tuple[int, int]:
        self._line += self._text.count("\n", self._placed, character)
        self._placed = character
        return self._line, character - self._text.rfind("\n", 0, character)


def _place(text: str, character: int) -> tuple[int, int]:
    return text.count("\n", 0, character) + 1, character - text.rfind("\n", 0, character)


def _statement(raw: Any, cursor: _Cursor) -> Statement:
    field: str = raw.stmt.WhichOneof("node")
    node = getattr(raw.stmt, field)
    start, end, text = cursor.cut(raw.stmt_location, raw.stmt_len)
    line, column = cursor.place(start)
    facts = _FACTS_OF.get(field, _ordinary)(node)
    return Statement(text=text, start=start, end=end, line=line, column=column, kind=node.DESCRIPTOR.name, **facts)


def _ordinary(_node: Any) -> dict[str, Any]:
    return {}


def _alone(_node: Any) -> dict[str, Any]:
    return {"cannot_run_in_transaction": True}


def _alone_repeatable(_node: Any) -> dict[str, Any]:
    return {"cannot_run_in_transaction": True, "is_repeatable": True}


def _concurrent(*, index: IndexTarget | None = None, is_repeatable: bool = False) -> dict[str, Any]:
    return {
        "cannot_run_in_transaction": True,
        "is_concurrent": True,
        "index": index,
        "is_repeatable": is_repeatable,
    }


_CONTROL_OF: dict[str, TransactionControl] = {
    "TRANS_STMT_BEGIN": TransactionControl.BEGIN,
    "TRANS_STMT_START": TransactionControl.BEGIN,
    "TRANS_STMT_COMMIT": TransactionControl.COMMIT,
    "TRANS_STMT_ROLLBACK": TransactionControl.ROLLBACK,
    "TRANS_STMT_SAVEPOINT": TransactionControl.SAVEPOINT,
    "TRANS_STMT_RELEASE": TransactionControl.SAVEPOINT,
    "TRANS_STMT_ROLLBACK_TO": TransactionControl.SAVEPOINT,
    "TRANS_STMT_PREPARE": TransactionControl.TWO_PHASE,
    "TRANS_STMT_COMMIT_PREPARED": TransactionControl.TWO_PHASE,
    "TRANS_STMT_ROLLBACK_PREPARED": TransactionControl.TWO_PHASE,
}


def _transaction(node: Any) -> dict[str, Any]:
    return {"control": _CONTROL_OF[_name_of(node, "kind")]}


def _variable_set(node: Any) -> dict[str, Any]:
    if node.is_local or node.name in {"TRANSACTION", "TRANSACTION SNAPSHOT"}:
        return {"is_local_set": True, "settings": (node.name,)}
    return {"is_set": True, "settings": (node.name,)}


def _select(node: Any) -> dict[str, Any]:
    """`SELECT pg_catalog.set_config('search_path', '', false)`, as pg_dump writes it, is a SET."""
    if len(node.target_list) != 1 or node.from_clause:
        return {}
    call = node.target_list[0].res_target.val.func_call
    if not call.funcname or call.funcname[-1].string.sval != "set_config" or len(call.args) != 3:  # noqa: PLR2004
        return {}
    settings = (call.args[0].a_const.sval.sval,)
    is_local = call.args[2].a_const.boolval.boolval
    return {"settings": settings, "is_local_set": is_local, "is_set": not is_local}


def _create_index(node: Any) -> dict[str, Any]:
    if not node.concurrent:
        return {}
    if not node.idxname:
        return _concurrent()
    schema = node.relation.schemaname or None
    return _concurrent(
        index=IndexTarget(
            schema=schema,
            name=node.idxname,
            table_schema=schema,
            table=node.relation.relname,
            is_unique=node.unique,
        )
    )


def _drop(node: Any) -> dict[str, Any]:
    if not node.concurrent:
        return {}
    names = [item.string.sval for item in node.objects[0].list.items]
    return _concurrent(index=IndexTarget(schema=names[-2] if len(names) > 1 else None, name=names[-1]))


def _reindex(node: Any) -> dict[str, Any]:
    if _has_option(node.params, "concurrently"):
        return _concurrent(is_repeatable=True)
    is_single = _name_of(node, "kind") in {"REINDEX_OBJECT_INDEX", "REINDEX_OBJECT_TABLE"}
    return {} if is_single else _alone_repeatable(node)


def _vacuum(node: Any) -> dict[str, Any]:
    return _alone_repeatable(node) if node.is_vacuumcmd else {}


def _cluster(node: Any) -> dict[str, Any]:
    return {} if node.relation.relname else _alone_repeatable(node)


def _alter_table(node: Any) -> dict[str, Any]:
    for command in node.cmds:
        if command.alter_table_cmd.HasField("def") and getattr(command.alter_table_cmd, "def").partition_cmd.concurrent:
            return _concurrent()
    return {}


def _subscription(node: Any) -> dict[str, Any]:
    """Only one that makes or drops a replication slot refuses a transaction; which one needs the catalog to tell."""
    wants_no_slot = any(
        option.def_elem.defname == "create_slot" and option.def_elem.arg.string.sval == "false"
        for option in getattr(node, "options", ())
    )
    return {} if wants_no_slot else _alone(node)


def _do(node: Any) -> dict[str, Any]:
    """A block that commits by itself is refused inside a transaction (SPI, invalid_transaction_termination)."""
    body = next((item.def_elem.arg.string.sval for item in node.args if item.def_elem.defname == "as"), "")
    return _alone(node) if _commits(body) else {}


def _commits(body: str) -> bool:
    """Whether COMMIT or ROLLBACK stands in the body as a word: comments and strings do not count."""
    try:
        tokens = postgast.scan(body).tokens
    except postgast.PgQueryError:
        return False
    return any(_name_of(token, "token") in {"COMMIT", "ROLLBACK"} for token in tokens)


_FACTS_OF: dict[str, Callable[[Any], dict[str, Any]]] = {
    "alter_database_stmt": lambda node: _alone(node) if _has_option(node.options, "tablespace") else {},
    "alter_subscription_stmt": _subscription,
    "alter_system_stmt": _alone_repeatable,
    "alter_table_stmt": _alter_table,
    "cluster_stmt": _cluster,
    "create_subscription_stmt": _subscription,
    "create_table_space_stmt": _alone,
    "createdb_stmt": _alone,
    "discard_stmt": lambda node: _alone_repeatable(node) if _name_of(node, "target") == "DISCARD_ALL" else {},
    "do_stmt": _do,
    "drop_stmt": _drop,
    "drop_subscription_stmt": _alone,
    "drop_table_space_stmt": _alone,
    "dropdb_stmt": _alone,
    "index_stmt": _create_index,
    "reindex_stmt": _reindex,
    "select_stmt": _select,
    "transaction_stmt": _transaction,
    "vacuum_stmt": _vacuum,
    "variable_set_stmt": _variable_set,
}


def _name_of(node: Any, field: str) -> str:
    return node.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(node, field)].name


def _has_option(options: Any, name: str) -> bool:
    """Whether a list of DefElem switches `name` on; `(CONCURRENTLY false)` does not."""
    return any(
        option.def_elem.defname == name and option.def_elem.arg.string.sval.lower() not in {"false", "off", "0"}
        for option in options
    )


def _syntax_error(text: str, error: postgast.PgQueryError, name: str) -> errors.SafepointError:
    # postgast documents cursorpos as bytes; libpg_query counts characters of UTF-8, as the server does (errposition).
    character = max(error.cursorpos - 1, 0)
    line, column = _place(text, character)
    meta = _META_COMMAND.match(text, character)
    if meta is not None:
        return _meta_command_error(meta[0], name, line)
    return errors.MG009.error(
        f"found {error.message} in {name}, line {line}, column {column}, expected SQL that PostgreSQL 18 parses",
        hints=[errors.run(f"mend line {line} of {name}: `{_line_of(text, line)}`")],
    )


def _meta_command_error(command: str, name: str, line: int) -> errors.SafepointError:
    return errors.MG009.error(
        f"found psql's command {command} in {name}, line {line}, expected SQL only",
        hints=[
            errors.ask("was the file written for psql, or dumped by pg_dump 15.14, 16.10, 17.6 or newer?"),
            errors.run(f"take line {line} out, or write what it does as SQL; the server knows no {command}"),
        ],
    )


def _line_of(text: str, line: int) -> str:
    shown = text.splitlines()[line - 1].strip() if line <= len(text.splitlines()) else ""
    return shown if len(shown) <= 80 else shown[:79] + "…"  # noqa: PLR2004 - one line of a terminal


def _refuse_client_copy(statement: Statement, raw: Any, name: str) -> None:
    node = raw.stmt.copy_stmt
    if statement.kind != "CopyStmt" or node.filename:
        return
    direction = "FROM STDIN" if node.is_from else "TO STDOUT"
    raise errors.MG009.error(
        f"found COPY {direction} in {name}, line {statement.line}, expected statements that need no client's data",
        hints=[errors.run("write the rows as INSERT, or load them outside of migrations")],
    )
