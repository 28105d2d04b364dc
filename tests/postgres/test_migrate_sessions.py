"""Sessions of a deployment: what ends them, what they wait for, and refusals that no statement of a file caused."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
import pytest

import servers
from migrating import ask, deploy, folder_of, ledger, open_transaction
from safepoint.errors import SafepointError, Unreachable
from safepoint.migration.deploy import (
    DeploySettings,
    LockBudget,
    deploy_actions,
    open_deployment,
    plan_deploy,
    session,
    survey,
    transaction,
)
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.url import DatabaseUrl
from safepoint.steps.execute import execute

pytestmark = pytest.mark.pg(">= 18")


@contextmanager
def longest_wait(url: DatabaseUrl, query: str) -> Generator[Callable[[], float]]:
    """Another client asks again and again; afterwards the seconds of its slowest answer are known."""
    waits = [0.0]
    over = threading.Event()

    def read() -> None:
        while not over.wait(0.02):
            began = time.monotonic()
            ask(url, query)
            waits.append(time.monotonic() - began)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield lambda: max(waits)
    finally:
        over.set()
        reader.join()


@contextmanager
def alongside(act: Callable[[], None]) -> Generator[None]:
    """Somebody else acts at the same time; they are done when the context ends."""
    other = threading.Thread(target=act)
    other.start()
    yield
    other.join()


def until(url: DatabaseUrl, query: str) -> None:
    """The query has an answer."""
    deadline = time.monotonic() + 20
    while not ask(url, query):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def refused(act: Callable[[], object]) -> SafepointError:
    with pytest.raises(SafepointError) as caught:
        act()
    return caught.value


def test_a_deployer_that_falls_silent_holds_no_lock_for_long(
    database: DatabaseUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped or cut off in mid-transaction: the server ends it, traffic goes on, and the unit runs again, once."""
    deploy(database, folder_of(tmp_path, {"1": "CREATE TABLE a (i int);"}))
    folder = folder_of(tmp_path, {"2": "SET idle_in_transaction_session_timeout = 0; ALTER TABLE a ADD COLUMN j int;"})
    keep_books, silences = transaction.keep_books, [4.0]

    def silent_at_first(*arguments: Any) -> None:
        time.sleep(silences.pop() if silences else 0)
        keep_books(*arguments)

    monkeypatch.setattr(session, "SILENCE_SECONDS", 1)
    monkeypatch.setattr(transaction, "keep_books", silent_at_first)
    with longest_wait(database, "SELECT * FROM a") as waited:
        run = deploy(database, folder)
    assert run.outcomes["2/1"]["attempts"] == 2
    assert waited() < 2.5
    assert ledger(database) == [("1", True), ("2", True)]


def test_waits_for_several_locks_share_one_timeout(database: DatabaseUrl, tmp_path: Path) -> None:
    """Who queues behind the first lock of a unit waits for lock_timeout, not for one of each statement."""
    tables = "".join(f"CREATE TABLE {name} (i int);" for name in "abc")
    deploy(database, folder_of(tmp_path, {"1": tables}))
    folder = folder_of(tmp_path, {"2": "".join(f"ALTER TABLE {name} ADD COLUMN j int;\n" for name in "abc")})
    once = DeploySettings(
        locks=LockBudget(timeout=timedelta(seconds=1.2), total=timedelta(seconds=2)), without_backup="a test"
    )
    with (
        open_transaction(database, "SELECT * FROM b") as first,
        open_transaction(database, "SELECT * FROM c"),
        longest_wait(database, "SELECT * FROM a") as waited,
    ):

        def let_go() -> None:
            until(database, "SELECT 1 FROM pg_locks WHERE relation = 'b'::regclass AND NOT granted")
            time.sleep(0.9)
            first.connection.rollback()

        with alongside(let_go):
            assert refused(lambda: deploy(database, folder, settings=once)).spec.code == "MG005"
    assert 0.9 < waited() < 1.8


@pytest.fixture
def awaiting_standby(server: Cluster) -> DatabaseUrl:
    """A server whose commits wait, durable but unseen, for a standby that never comes, where asked to."""
    url = server.url()
    ask(url, "ALTER ROLE postgres SET synchronous_commit = 'local'")
    ask(url, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    ask(url, "SELECT pg_reload_conf()")
    return url


WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
UNIT = "SET LOCAL synchronous_commit = 'on'; INSERT INTO a VALUES (1);"


def test_a_commit_whose_answer_is_lost_is_found_done(awaiting_standby: DatabaseUrl, tmp_path: Path) -> None:
    """A session ended while its COMMIT, done here, waits for a standby: the unit stands, and is not sent again."""
    url = awaiting_standby
    deploy(url, folder_of(tmp_path, {"1": "CREATE TABLE a (i int);"}))
    folder = folder_of(tmp_path, {"2": UNIT})

    def end_the_wait() -> None:
        until(url, WAITING)
        ask(url, f"SELECT pg_terminate_backend(pid) FROM ({WAITING}) waiting")

    with alongside(end_the_wait):
        run = deploy(url, folder)
    assert run.outcomes["2/1"]["attempts"] == 1
    assert ask(url, "SELECT i FROM a") == [(1,)]
    assert ledger(url) == [("1", True), ("2", True)]


def test_a_commit_under_way_is_waited_for_when_its_session_is_lost(
    awaiting_standby: DatabaseUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is cut and the server process goes on: what it does is known only when it has ended."""
    url = awaiting_standby
    deploy(url, folder_of(tmp_path, {"1": "CREATE TABLE a (i int);"}))
    folder = folder_of(tmp_path, {"2": UNIT})
    opened: list[psycopg.Connection[Any]] = []
    connect = session.connect

    def remembered(*arguments: Any, **named: Any) -> psycopg.Connection[Any]:
        opened.append(connect(*arguments, **named))
        return opened[-1]

    def cut() -> None:
        until(url, WAITING)
        with socket.socket(fileno=os.dup(opened[-1].fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
        time.sleep(0.7)
        ask(url, "ALTER SYSTEM RESET synchronous_standby_names")
        ask(url, "SELECT pg_reload_conf()")

    monkeypatch.setattr(session, "connect", remembered)
    with alongside(cut):
        run = deploy(url, folder)
    assert run.outcomes["2/1"]["attempts"] == 1
    assert ask(url, "SELECT i FROM a") == [(1,)]
    assert ledger(url) == [("1", True), ("2", True)]


def test_timeouts_of_the_role_end_no_unit(shared_server: Cluster, database: DatabaseUrl, tmp_path: Path) -> None:
    """transaction_timeout, new in 17, is the role's as much as the older ones, and off for a migration."""
    with servers.temporary_role(shared_server, "hasty", "SUPERUSER LOGIN") as url:
        for name in ("transaction_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
            ask(database, f"ALTER ROLE hasty SET {name} = '150ms'")
        hasty = url.with_database(database.database)
        deploy(hasty, folder_of(tmp_path, {"1": "SELECT pg_sleep(0.5);"}))
        ask(database, "REASSIGN OWNED BY hasty TO postgres")
    assert ledger(database) == [("1", True)]


def test_the_journal_is_durable_whatever_the_role_prefers(
    shared_server: Cluster, database: DatabaseUrl, tmp_path: Path
) -> None:
    """An entry lost in a crash would let a statement that stands alone run twice."""
    with servers.temporary_role(shared_server, "careless", "SUPERUSER LOGIN") as url:
        ask(database, "ALTER ROLE careless SET synchronous_commit = off")
        careless = url.with_database(database.database)
        plan = plan_deploy(careless, folder_of(tmp_path, {"1": "SELECT 1"}))
        with open_deployment(careless, plan) as deployment:
            assert deployment.control.execute("SHOW synchronous_commit").fetchone() == ("on",)
        ask(database, "REASSIGN OWNED BY careless TO postgres")


def test_books_are_kept_whatever_encoding_the_file_speaks(database: DatabaseUrl, tmp_path: Path) -> None:
    """SET client_encoding holds for the file's statements; the ledger gets the name as it is."""
    deploy(database, folder_of(tmp_path, {"1_日本": "SET client_encoding = 'LATIN1'; CREATE TABLE a (i int);"}))
    assert ledger(database) == [("1_日本", True)]


def test_a_blank_reason_opens_no_gate(database: DatabaseUrl, tmp_path: Path) -> None:
    """`--without-backup "$REASON"` with nothing in the variable is no decision to go without."""
    folder = folder_of(tmp_path, {"1": "CREATE TABLE a (i int);"})
    for blank in ("", " \n"):
        refusal = refused(lambda blank=blank: deploy(database, folder, settings=DeploySettings(without_backup=blank)))
        assert refusal.spec.code == "MG007"
    assert ask(database, "SELECT to_regclass('a')") == [(None,)]


def test_a_schema_may_have_a_per_cent_sign(database: DatabaseUrl, tmp_path: Path) -> None:
    """Names are PostgreSQL's to judge."""
    deploy(database, folder_of(tmp_path, {"1": "CREATE TABLE a (i int);"}), schema="100%s")
    assert ask(database, 'SELECT migration_name FROM "100%s"._prisma_migrations') == [("1",)]


@pytest.mark.parametrize(
    ("obstacle", "code"),
    [
        ("ALTER DATABASE {} SET default_transaction_read_only = on", "PG010"),
        ("DROP SCHEMA safepoint CASCADE; CREATE EVENT TRIGGER no ON ddl_command_start EXECUTE FUNCTION no()", "MG011"),
        ("ALTER TABLE _prisma_migrations DROP COLUMN logs", "MG011"),
        ("UPDATE _prisma_migrations SET started_at = 'infinity'", "MG011"),
    ],
)
def test_what_stands_in_the_way_of_our_own_statements_is_told(
    database: DatabaseUrl, tmp_path: Path, obstacle: str, code: str
) -> None:
    """A refusal has a code of its own and PostgreSQL's words: it is no bug of safepoint's."""
    deploy(database, folder_of(tmp_path, {"1": "SELECT 1"}))
    ask(database, "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END'")
    folder = folder_of(tmp_path, {"2": "SELECT 1"})
    ask(database, obstacle.format(database.database))
    assert refused(lambda: deploy(database, folder)).spec.code == code


def test_a_role_without_rights_is_told_which(shared_server: Cluster, database: DatabaseUrl, tmp_path: Path) -> None:
    """PG007 with PostgreSQL's words: where the schema is closed, and where the table cannot be made there."""
    folder = folder_of(tmp_path, {"1": "SELECT 1"})
    with servers.temporary_role(shared_server, "guest") as url:
        guest = url.with_database(database.database)
        ask(database, f"GRANT CREATE ON DATABASE {database.database} TO guest")
        ask(database, "CREATE SCHEMA shut")
        closed = refused(lambda: survey(guest, folder, schema="shut"))
        narrow = refused(lambda: deploy(guest, folder))
        ask(database, "DROP OWNED BY guest")
    assert (closed.spec.code, narrow.spec.code) == ("PG007", "PG007")
    assert "permission denied for schema shut" in closed.message
    assert "permission denied for schema public" in narrow.message


def test_a_locked_ledger_is_not_waited_for_without_end(
    database: DatabaseUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at the ledger ends by a deadline; a unit's look is tried again, and told as the lock it is."""
    deploy(database, folder_of(tmp_path, {"1": "SELECT 1"}))
    folder = folder_of(tmp_path, {"2": "SELECT 1"})
    hasty = DeploySettings(
        locks=LockBudget(timeout=timedelta(seconds=0.2), total=timedelta(seconds=1)), without_backup="a test"
    )
    plan = plan_deploy(database, folder, settings=hasty)
    with open_transaction(database, "LOCK TABLE _prisma_migrations IN ACCESS EXCLUSIVE MODE") as holder:
        monkeypatch.setattr(import_module("safepoint.migration.deploy.survey"), "QUEUE_SECONDS", 1)
        assert refused(lambda: survey(database, folder)).spec.code == "MG005"
        with open_deployment(database, plan) as deployment, pytest.raises(Unreachable, match="MG005") as caught:
            execute(plan, actions=deploy_actions(deployment, safety=None), journal=deployment.journal)
    assert f"blocked by pid {holder.pid}" in caught.value.message
