"""What the running copy is asked: are we let in, are indexes, heaps and visibility sound, what does the strategy ask.

Amcheck and pg_visibility are used where production has them; a copy that was promoted is ours, and gets them for the
time of the proof. Where an index cannot be judged here (another collation version, a library that is not installed),
what amcheck says of it is unknown, not failed.
Source: PostgreSQL 15-18 documentation, "amcheck", "pg_visibility", "pg_amcheck".
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from safepoint import errors
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.connect import connect
from safepoint.postgres.programs import run_program
from safepoint.recovery.proofs import NO_AMCHECK, Outcome, Proof, ProofKind, Question, short
from safepoint.recovery.replay import superuser_of, url_of

NO_VISIBILITY = "the extension pg_visibility is not installed there"
"""The detail of a visibility proof that a `CREATE EXTENSION pg_visibility` in production would have made known."""

_AMCHECK, _VISIBILITY = "amcheck", "pg_visibility"
_SCHEMA = "safepoint_proof"
_POSTGRESQLS_OWN = frozenset({"postgres", "template0", "template1"})
_NO_SUCH_SYNTAX_OR_NAME = "42"
"""The class of SQLSTATE "Syntax Error or Access Rule Violation" (PostgreSQL documentation, appendix A)."""
_NO_LIBRARY = ("could not access file", "could not load library")

# -2 marks a database whose DROP had begun: nobody can connect, and all that is left to do is to drop it again.
_CONNECTABLE = "SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY datname"
_SCHEMA_OF = """
SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = %s
"""
_COLLATIONS = """
SELECT format('database collation has version %s, here it is %s',
              datcollversion, pg_database_collation_actual_version(oid))
FROM pg_database
WHERE datname = current_database() AND datcollversion <> pg_database_collation_actual_version(oid)
UNION ALL
SELECT format('collation %I has version %s, here it is %s', collname, collversion, pg_collation_actual_version(oid))
FROM pg_collation WHERE collversion <> pg_collation_actual_version(oid) LIMIT 3
"""
_VISIBLE = """
SELECT c.oid::regclass::text,
       (SELECT count(*) FROM {schema}.pg_check_visible(c.oid)) + (SELECT count(*) FROM {schema}.pg_check_frozen(c.oid))
FROM pg_class c WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p'
"""


def prove_server(cluster: Cluster, questions: Sequence[Question], *, is_promoted_later: bool = False) -> list[Proof]:
    """Every database lets us in, its relations pass amcheck and the visibility checks, the questions answer.

    What lacks an extension is unknown, or left to `prove_promoted` when that comes later. Databases that PostgreSQL
    itself calls invalid are left out. RC006 for what is no question to this copy.
    """
    databases = _databases(cluster)
    checks = [proof for database in databases for proof in _prove_relations(cluster, database)]
    return [
        *(_prove_connection(cluster, database) for database in databases),
        *(proof for proof in checks if not (is_promoted_later and _lacks_extension(proof))),
        *(_ask(cluster, question, _database_of(question, databases)) for question in questions),
    ]


def prove_promoted(cluster: Cluster) -> list[Proof]:
    """What `prove_server` left out for want of an extension, with one that is there only meanwhile."""
    found: list[Proof] = []
    for database in _databases(cluster):
        try:
            with _lent(cluster, database) as lent:
                found += _prove_relations(cluster, database, lent) if lent else []
        except (errors.SafepointError, psycopg.Error) as error:
            unknown = Proof(
                kind=ProofKind.AMCHECK,
                name=f"checks of {database}",
                outcome=Outcome.UNKNOWN,
                detail=short(str(error)),
            )
            found.append(unknown)
    return found


def _lacks_extension(proof: Proof) -> bool:
    return proof.detail in {NO_AMCHECK, NO_VISIBILITY}


def _database_of(question: Question, databases: Sequence[str]) -> str:
    """The one named, else the only one that is not PostgreSQL's own: a strategy may call it by another name."""
    own = [name for name in databases if name not in _POSTGRESQLS_OWN]
    return own[0] if question.database not in databases and len(own) == 1 else question.database


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
        return Proof(kind=kind, name=name, outcome=Outcome.FAIL, detail=short(str(error)))
    return Proof(kind=kind, name=name, outcome=Outcome.PASS, detail=f"{row[0] if row else 0} relations")


@contextmanager
def _lent(cluster: Cluster, database: str) -> Generator[frozenset[str]]:
    """The extensions that the database lacked and this machine has are in a schema of their own, and gone after."""
    with connect(url_of(cluster, database)) as connection:
        rows = connection.execute(
            "SELECT name FROM pg_available_extensions WHERE name = ANY(%s) AND installed_version IS NULL",
            [[_AMCHECK, _VISIBILITY]],
        ).fetchall()
        lent = frozenset(str(row[0]) for row in rows)
        try:
            _drop(connection)
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(_SCHEMA)))
            for name in sorted(lent):
                connection.execute(
                    sql.SQL("CREATE EXTENSION {} SCHEMA {}").format(sql.Identifier(name), sql.Identifier(_SCHEMA))
                )
            yield lent
        finally:
            _drop(connection)


def _drop(connection: psycopg.Connection[Any]) -> None:
    connection.execute("SET client_min_messages = warning")
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(_SCHEMA)))


def _prove_relations(cluster: Cluster, database: str, only: Iterable[str] = (_AMCHECK, _VISIBILITY)) -> list[Proof]:
    """The proofs that the extensions `only` make."""
    made = {_AMCHECK: _prove_amcheck, _VISIBILITY: _prove_visibility}
    return [made[name](cluster, database) for name in (_AMCHECK, _VISIBILITY) if name in only]


def _prove_amcheck(cluster: Cluster, database: str) -> Proof:
    """`pg_amcheck --heapallindexed`: every tuple of a heap is in its B-tree indexes, every heap is sound."""
    kind, name = ProofKind.AMCHECK, f"pg_amcheck of {database}"
    try:
        program = cluster.binaries.program("pg_amcheck")
        with connect(url_of(cluster, database)) as connection:
            row = connection.execute(_SCHEMA_OF, [_AMCHECK]).fetchone()
            collations = [str(found[0]) for found in connection.execute(_COLLATIONS).fetchall()]
    except (errors.SafepointError, psycopg.Error) as error:
        return Proof(kind=kind, name=name, outcome=Outcome.UNKNOWN, detail=short(str(error)))
    if row is None:
        return Proof(kind=kind, name=name, outcome=Outcome.UNKNOWN, detail=NO_AMCHECK)
    answer = run_program(
        cluster.user,
        [
            *(program, "--host", cluster.socket_directory, "--port", str(cluster.port), "--heapallindexed"),
            *("--username", superuser_of(cluster.data), "--no-password", "--no-strict-names", "--database", database),
        ],
        check=False,
    )
    said = answer.stdout + answer.stderr
    if answer.returncode == 0:
        return Proof(kind=kind, name=name, outcome=Outcome.PASS, detail=short(said) or "no corruption found")
    outcome, detail = amcheck_verdict(said, collations)
    return Proof(kind=kind, name=name, outcome=outcome, detail=detail)


def amcheck_verdict(said: str, collations: Sequence[str]) -> tuple[Outcome, str]:
    """What complaints of amcheck are worth, where collations have other versions here, or a library is missing."""
    if collations:
        return Outcome.UNKNOWN, short(f"{'; '.join(collations)}, so that amcheck cannot judge: {said}")
    if any(text in said for text in _NO_LIBRARY):
        return Outcome.UNKNOWN, short(f"an extension is not installed on this machine: {said}")
    return Outcome.FAIL, short(said)


def _prove_visibility(cluster: Cluster, database: str) -> Proof:
    """`pg_check_visible` and `pg_check_frozen`: no page is called all-visible or all-frozen that is not."""
    kind, name = ProofKind.VISIBILITY, f"visibility maps of {database}"
    try:
        with connect(url_of(cluster, database)) as connection:
            row = connection.execute(_SCHEMA_OF, [_VISIBILITY]).fetchone()
            if row is None:
                return Proof(kind=kind, name=name, outcome=Outcome.UNKNOWN, detail=NO_VISIBILITY)
            query = sql.SQL(_VISIBLE).format(schema=sql.Identifier(str(row[0])))
            found = connection.execute(query).fetchall()
    except (errors.SafepointError, psycopg.Error) as error:
        return Proof(kind=kind, name=name, outcome=Outcome.UNKNOWN, detail=short(str(error)))
    wrong = [f"{relation}: {count} tuples" for relation, count in found if count]
    if wrong:
        return Proof(kind=kind, name=name, outcome=Outcome.FAIL, detail=short("; ".join(wrong)))
    return Proof(kind=kind, name=name, outcome=Outcome.PASS, detail=f"{len(found)} relations, nothing wrong")


def _ask(cluster: Cluster, question: Question, database: str) -> Proof:
    kind, name = ProofKind.QUESTION, f"query: {question.query}"
    try:
        with connect(url_of(cluster, database)) as connection:
            # A query of the strategy file's author: sent as it is.
            row = connection.execute(question.query.encode()).fetchone()
    except (errors.SafepointError, psycopg.Error) as error:
        if _is_no_question(error):
            raise _cannot_ask(question, error) from error
        return Proof(kind=kind, name=name, outcome=Outcome.FAIL, detail=short(str(error)))
    detail = short(", ".join(map(str, row or ())) or "no row")
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
        f"found that {question.query!r} cannot be asked of database {question.database} ({short(str(error))}), "
        "expected one query that has an answer there",
        changed="the copy stays marked as unfinished; production and repository are untouched; the same command with "
        "the right query begins afresh",
        hints=[
            errors.ask("is a name misspelt, or was the table made only after the instant restored to?"),
            errors.run("correct it: `--query SQL`"),
        ],
    )
