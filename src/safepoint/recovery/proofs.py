"""What is proven of a restored copy: before any server touched its files, and after one runs on them.

A proof passes, fails, or is unknown because it could not be had here; unknown is never shown as passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

_DETAIL_CHARACTERS = 600


# -2 marks a database whose DROP had begun: nobody can connect, and all that is left to do is to drop it again.
_CONNECTABLE = "SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY datname"


class Outcome(Enum):
    """What came of a proof."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One proof: what it shows, what came of it, and in a line why."""

    name: str
    outcome: Outcome
    detail: str

    def to_json(self) -> dict[str, Json]:
        """As it stands in a step's outcome."""
        return {"name": self.name, "outcome": self.outcome.value, "detail": self.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A query that a restored copy must answer."""

    database: str
    query: str


def prove_files(cluster: Cluster) -> Proof:
    """`pg_verifybackup -n`: every file has the size and checksum the server gave it in its backup manifest."""
    try:
        program = cluster.binaries.program("pg_verifybackup")
    except errors.SafepointError as error:
        return Proof(name="pg_verifybackup", outcome=Outcome.UNKNOWN, detail=error.message)
    # The manifest's WAL is not there yet: -n. Our own marker is no file of the backup: -i.
    answer = run_program(cluster.user, [program, "-n", "-i", MARKER, cluster.data], check=False)
    outcome = Outcome.PASS if answer.returncode == 0 else Outcome.FAIL
    return Proof(name="pg_verifybackup", outcome=outcome, detail=_short(answer.stderr or answer.stdout))


def prove_server(cluster: Cluster, questions: Sequence[Question]) -> list[Proof]:
    """Every database lets us in, its indexes and heaps pass amcheck where that is installed, the questions answer.

    Databases that PostgreSQL itself calls invalid are left out.
    """
    databases = _databases(cluster)
    return [
        *(_prove_connection(cluster, database) for database in databases),
        *(_prove_amcheck(cluster, database) for database in databases),
        *(_ask(cluster, question) for question in questions),
    ]


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
    name = f"connect to {database}"
    try:
        with connect(url_of(cluster, database)) as connection:
            row = connection.execute("SELECT count(*) FROM pg_class").fetchone()
    except (errors.SafepointError, psycopg.Error) as error:
        return Proof(name=name, outcome=Outcome.FAIL, detail=_short(str(error)))
    return Proof(name=name, outcome=Outcome.PASS, detail=f"{row[0] if row else 0} relations")


def _prove_amcheck(cluster: Cluster, database: str) -> Proof:
    name = f"pg_amcheck of {database}"
    try:
        program = cluster.binaries.program("pg_amcheck")
        with connect(url_of(cluster, database)) as connection:
            row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'amcheck'").fetchone()
    except (errors.SafepointError, psycopg.Error) as error:
        return Proof(name=name, outcome=Outcome.UNKNOWN, detail=_short(str(error)))
    if row is None:
        return Proof(name=name, outcome=Outcome.UNKNOWN, detail="the extension amcheck is not installed there")
    answer = run_program(
        cluster.user,
        [
            *(program, "--host", cluster.socket_directory, "--port", str(cluster.port)),
            *("--username", superuser_of(cluster.data), "--no-password", "--no-strict-names", "--database", database),
        ],
        check=False,
    )
    outcome = Outcome.PASS if answer.returncode == 0 else Outcome.FAIL
    return Proof(name=name, outcome=outcome, detail=_short(answer.stdout + answer.stderr) or "no corruption found")


def _ask(cluster: Cluster, question: Question) -> Proof:
    name = f"query: {question.query}"
    try:
        with connect(url_of(cluster, question.database)) as connection:
            # A query of the strategy file's author: sent as it is.
            row = connection.execute(question.query.encode()).fetchone()
    except (errors.SafepointError, psycopg.Error) as error:
        return Proof(name=name, outcome=Outcome.FAIL, detail=_short(str(error)))
    return Proof(name=name, outcome=Outcome.PASS, detail=_short(", ".join(map(str, row or ())) or "no row"))


def _short(text: str) -> str:
    return " | ".join(text.split("\n")).strip(" |")[:_DETAIL_CHARACTERS]
