"""What is proven of a restored copy: before any server touched its files, and after one runs on them.

A proof passes, fails, or is unknown because it could not be had here; unknown is never shown as passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import psycopg

from safepoint import errors
from safepoint.model.json_value import Json
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.connect import connect
from safepoint.postgres.programs import run_program
from safepoint.recovery.directory import MARKER
from safepoint.recovery.replay import superuser_of, url_of

NO_AMCHECK = "the extension amcheck is not installed there"
"""The detail of an amcheck proof that a `CREATE EXTENSION amcheck` in production would have made known."""

_DETAIL_CHARACTERS = 600
_POSTGRESQLS_OWN = frozenset({"postgres", "template0", "template1"})
_NO_SUCH_SYNTAX_OR_NAME = "42"
"""The class of SQLSTATE "Syntax Error or Access Rule Violation" (PostgreSQL documentation, appendix A)."""


# -2 marks a database whose DROP had begun: nobody can connect, and all that is left to do is to drop it again.
_CONNECTABLE = "SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY datname"


class Outcome(Enum):
    """What came of a proof."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNKNOWN = "unknown"


class ProofKind(Enum):
    """What a proof looks at."""

    FILES = "files"
    CONNECTION = "connection"
    AMCHECK = "amcheck"
    QUESTION = "question"
    WRITES = "writes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One proof: what it looks at, its name among others of its kind, what came of it, and in a line why."""

    kind: ProofKind
    name: str
    outcome: Outcome
    detail: str

    def to_json(self) -> dict[str, Json]:
        """As it stands in a step's outcome; `proof_from_json` gives back an equal value."""
        return {
            "kind": self.kind.value,
            "name": self.name,
            "outcome": self.outcome.value,
            "detail": self.detail,
        }


def proof_from_json(value: Mapping[str, str]) -> Proof:
    """The proof that `to_json` wrote."""
    return Proof(
        kind=ProofKind(value["kind"]),
        name=value["name"],
        outcome=Outcome(value["outcome"]),
        detail=value["detail"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A query that a restored copy must answer."""

    database: str
    query: str


def prove_files(cluster: Cluster) -> Proof:
    """`pg_verifybackup -n`: every file has the size and checksum the server gave it in its backup manifest."""
    kind, name = ProofKind.FILES, "pg_verifybackup"
    try:
        program = cluster.binaries.program(name)
    except errors.SafepointError as error:
        return Proof(kind=kind, name=name, outcome=Outcome.UNKNOWN, detail=error.message)
    # The manifest's WAL is not there yet: -n. Our own marker is no file of the backup: -i.
    answer = run_program(cluster.user, [program, "-n", "-i", MARKER, cluster.data], check=False)
    outcome = Outcome.PASS if answer.returncode == 0 else Outcome.FAIL
    return Proof(kind=kind, name=name, outcome=outcome, detail=_short(answer.stderr or answer.stdout))


def prove_server(cluster: Cluster, questions: Sequence[Question]) -> list[Proof]:
    """Every database lets us in, its indexes and heaps pass amcheck where that is installed, the questions answer.

    Databases that PostgreSQL itself calls invalid are left out. RC006 for what is no question to this copy.
    """
    databases = _databases(cluster)
    return [
        *(_prove_connection(cluster, database) for database in databases),
        *(_prove_amcheck(cluster, database) for database in databases),
        *(_ask(cluster, question, _database_of(question, databases)) for question in questions),
    ]


def _database_of(question: Question, databases: Sequence[str]) -> str:
    """The one named, else the only one that is not PostgreSQL's own: a strategy may call it by another name."""
    own = [name for name in databases if name not in _POSTGRESQLS_OWN]
    return own[0] if question.database not in databases and len(own) == 1 else question.database


def require_passed(proofs: Iterable[Proof]) -> None:
    """RC004 when a proof failed; one that is unknown does not stop anything."""
    failed = [proof for proof in proofs if proof.outcome is Outcome.FAIL]
    if failed:
        raise errors.RC004.error(
            "found "
            + "; ".join(f"{proof.name} failed: {proof.detail}" for proof in failed)
            + "; expected every proof to pass",
            changed="the restored copy is marked as unfinished; production and repository are untouched",
            hints=[
                errors.ask("was the backup damaged in the repository?"),
                errors.run("check it with `safepoint verify`, and restore from another backup"),
            ],
        )


def _databases(cluster: Cluster) -> list[str]:
    with connect(url_of(cluster)) as connection:
        rows = connection.execute(_CONNECTABLE).fetchall()
    return [str(row[0]) for row in rows]


def _prove_connection(cluster: Cluster, database: str) -> Proof:
    kind, name = ProofKind.CONNECTION, f"connect to {database}"
    try:
        with connect(url_of(cluster, database)) as connection:
            row = connection.execute("SELECT count(*) FROM pg_class").fetchone()
    except (errors.SafepointError, psycopg.Error) as error:
        return Proof(kind=kind, name=name, outcome=Outcome.FAIL, detail=_short(str(error)))
    return Proof(kind=kind, name=name, outcome=Outcome.PASS, detail=f"{row[0] if row else 0} relations")


def _prove_amcheck(cluster: Cluster, database: str) -> Proof:
    kind, name = ProofKind.AMCHECK, f"pg_amcheck of {database}"
    try:
        program = cluster.binaries.program("pg_amcheck")
        with connect(url_of(cluster, database)) as connection:
            row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'amcheck'").fetchone()
    except (errors.SafepointError, psycopg.Error) as error:
        return Proof(kind=kind, name=name, outcome=Outcome.UNKNOWN, detail=_short(str(error)))
    if row is None:
        return Proof(kind=kind, name=name, outcome=Outcome.UNKNOWN, detail=NO_AMCHECK)
    answer = run_program(
        cluster.user,
        [
            *(program, "--host", cluster.socket_directory, "--port", str(cluster.port)),
            *("--username", superuser_of(cluster.data), "--no-password", "--no-strict-names", "--database", database),
        ],
        check=False,
    )
    outcome = Outcome.PASS if answer.returncode == 0 else Outcome.FAIL
    detail = _short(answer.stdout + answer.stderr) or "no corruption found"
    return Proof(kind=kind, name=name, outcome=outcome, detail=detail)


def _ask(cluster: Cluster, question: Question, database: str) -> Proof:
    kind, name = ProofKind.QUESTION, f"query: {question.query}"
    try:
        with connect(url_of(cluster, database)) as connection:
            # A query of the strategy file's author: sent as it is.
            row = connection.execute(question.query.encode()).fetchone()
    except (errors.SafepointError, psycopg.Error) as error:
        if _is_no_question(error):
            raise _cannot_ask(question, error) from error
        return Proof(kind=kind, name=name, outcome=Outcome.FAIL, detail=_short(str(error)))
    detail = _short(", ".join(map(str, row or ())) or "no row")
    return Proof(kind=kind, name=name, outcome=Outcome.PASS, detail=detail)


def _is_no_question(error: Exception) -> bool:
    """Whether the server understood the text as no query on what is there, or psycopg as none that has an answer."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.ProgrammingError)
    return error.sqlstate.startswith(_NO_SUCH_SYNTAX_OR_NAME)


def _cannot_ask(question: Question, error: Exception) -> errors.SafepointError:
    return errors.RC006.error(
        f"found that {question.query!r} cannot be asked of database {question.database} ({_short(str(error))}), "
        "expected one query that has an answer there",
        changed="the copy stays marked as unfinished; production and repository are untouched; the same command with "
        "the right query begins afresh",
        hints=[
            errors.ask("is a name misspelt, or was the table made only after the instant restored to?"),
            errors.run("correct it: `--query SQL`"),
        ],
    )


def _short(text: str) -> str:
    return " | ".join(text.split("\n")).strip(" |")[:_DETAIL_CHARACTERS]
