"""Connections, and why there is none."""

from __future__ import annotations

import socket
from pathlib import Path

import psycopg
import pytest
from psycopg import pq, sql

from safepoint.errors import SafepointError
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import Cluster, make_cluster, remove_cluster, running
from safepoint.postgres.connect import connect, replication_connection
from safepoint.postgres.url import DatabaseUrl
from servers import temporary_role


def test_no_timeout_of_the_role_ends_our_work(shared_server: Cluster) -> None:
    """Whatever timeouts a role has, a session of ours has none, and row security fails loudly."""
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"]
    if int(shared_server.binaries.version.major) >= 17:
        names.append("transaction_timeout")
    with temporary_role(shared_server, "hasty") as url:
        with connect(shared_server.url()) as admin:
            for name in names:
                admin.execute(sql.SQL("ALTER ROLE hasty SET {} = 70000").format(sql.Identifier(name)))
        with connect(url) as connection:
            found = {name: connection.execute("SELECT current_setting(%s)", [name]).fetchone() for name in names}
            row_security = connection.execute("SHOW row_security").fetchone()
    assert found == dict.fromkeys(names, ("0",))
    assert row_security == ("off",)


def test_text_is_text_in_a_database_without_an_encoding(shared_server: Cluster) -> None:
    """SQL_ASCII, which initdb chooses under the C locale: a role's name must not come as bytes."""
    with connect(shared_server.url()) as admin:
        admin.execute("CREATE DATABASE plain ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        try:
            with connect(shared_server.url("plain")) as connection:
                assert connection.execute("SELECT current_user, 'é'::text").fetchone() == ("postgres", "é")
        finally:
            admin.execute("DROP DATABASE plain WITH (FORCE)")


def test_transactions_are_the_callers_when_asked(database: DatabaseUrl) -> None:
    """Without autocommit the session settings hold all the same and a transaction begins with the first statement."""
    with connect(database, autocommit=False) as connection:
        assert connection.info.transaction_status is pq.TransactionStatus.IDLE
        assert connection.execute("SHOW row_security").fetchone() == ("off",)
        assert connection.info.transaction_status is pq.TransactionStatus.INTRANS
        connection.rollback()
        assert connection.execute("SHOW row_security").fetchone() == ("off",)


def test_prisma_url_connects(database: DatabaseUrl) -> None:
    """A URL as Prisma writes it, parameters and all, leads to the database."""
    url = DatabaseUrl.parse(f"{database.reveal()}&schema=public&pgbouncer=true&connection_limit=1&sslaccept=strict")
    with connect(url) as connection:
        assert connection.info.dbname == database.database


@pytest.mark.pg("== 17")
def test_application_name_is_ours(database: DatabaseUrl) -> None:
    """The server's statistics show who is connected."""
    with connect(database, application_name="safepoint test") as connection:
        assert connection.execute("SHOW application_name").fetchone() == ("safepoint test",)


def test_missing_database_is_named(shared_server: Cluster) -> None:
    """PG004 with the database's name, and how to list those that exist."""
    with pytest.raises(SafepointError, match=r"PG004: .*expected the database 'nowhere'") as caught:
        connect(shared_server.url("nowhere"))
    assert "psql -l" in caught.value.hints[0].text


def test_missing_role_is_not_let_in(shared_server: Cluster) -> None:
    """PG007 for a role that does not exist."""
    with pytest.raises(
        SafepointError, match=r'PG007: .*role "stranger" does not exist.*expected stranger to be let in'
    ):
        connect(shared_server.url().with_parameters(user="stranger"))


@pytest.mark.pg("== 17")
def test_wrong_password_is_told_without_it(server_root: Path) -> None:
    """PG007 for a wrong password, which appears nowhere in the error."""
    cluster = make_cluster(server_root / "data", find_binaries(17), listen_tcp=True, sync=False)
    with running(cluster):
        with connect(cluster.url()) as admin:
            admin.execute("ALTER ROLE postgres PASSWORD 'right'")
        url = cluster.url().with_parameters(host="127.0.0.1", password="hunter2")
        with pytest.raises(SafepointError, match=r"PG007: .*password authentication failed") as caught:
            connect(url)
    assert "hunter2" not in caught.value.message + "".join(hint.text for hint in caught.value.hints)
    assert caught.value.__cause__ is None
    remove_cluster(cluster)


def test_refused_port_names_host_and_port() -> None:
    """PG004 where nobody listens says where that was."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(SafepointError, match=rf"PG004: .*refused.*expected a server at 127\.0\.0\.1 port {port}"):
            connect(DatabaseUrl.of(host="127.0.0.1", port=port, user="a", dbname="b"))


def test_deaf_server_is_given_up() -> None:
    """A host that accepts and never answers is PG004 after `connect_timeout`, not a hang."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = DatabaseUrl.of(host="127.0.0.1", port=deaf.getsockname()[1], user="a", dbname="b", connect_timeout=2)
        with pytest.raises(SafepointError, match=r"PG004: .*timeout"):
            connect(url)


def test_unknown_host_is_named() -> None:
    """PG004 for a name that does not resolve."""
    with pytest.raises(SafepointError, match=r"PG004: .*expected a server at db\.invalid port 5432"):
        connect(DatabaseUrl.parse("postgresql://a@db.invalid/b"))


def test_replication_connection_speaks_the_protocol(shared_server: Cluster) -> None:
    """The raw connection answers IDENTIFY_SYSTEM, and has no idle timeout."""
    raw = replication_connection(shared_server.url())
    try:
        assert raw.exec_(b"IDENTIFY_SYSTEM").get_value(0, 1) == b"1"
        assert raw.exec_(b"SHOW idle_session_timeout").get_value(0, 0) == b"0"
    finally:
        raw.finish()


def test_replication_without_the_right_is_refused_with_the_grant(shared_server: Cluster) -> None:
    """PG007 for a role without REPLICATION names the statement that grants it."""
    with temporary_role(shared_server, "plain") as url, pytest.raises(SafepointError, match="PG007") as caught:
        replication_connection(url)
    assert "ALTER ROLE" in caught.value.hints[0].text


@pytest.mark.pg("== 17")
def test_full_server_is_told(server: Cluster) -> None:
    """When every connection is taken PG004 says so, and asks the right question."""
    with connect(server.url()) as admin:
        admin.execute("CREATE ROLE guest LOGIN CONNECTION LIMIT 1")
    guest = server.url().with_parameters(user="guest")
    with connect(guest), pytest.raises(SafepointError, match=r"PG004: .*too many connections") as caught:
        connect(guest)
    assert "max_connections" in caught.value.hints[0].text


@pytest.mark.pg("== 17")
def test_keepalives_are_on_unless_the_url_says_otherwise(database: DatabaseUrl) -> None:
    """Our defaults reach libpq; what the URL says wins."""
    with connect(database) as connection, connect(database.with_parameters(keepalives_idle="7")) as other:
        assert options(connection)["keepalives_idle"] == "30"
        assert options(other)["keepalives_idle"] == "7"


def options(connection: psycopg.Connection[tuple[object, ...]]) -> dict[str, str]:
    return connection.info.get_parameters()
