"""What stands between us and the server, with a real PgBouncer."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from programs import find_program
from safepoint.errors import SafepointError
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.connect import connect
from safepoint.postgres.pooler import Pooling, detect_pooling, require_direct
from safepoint.postgres.programs import end_program, spawn_program
from safepoint.postgres.run_directory import free_port
from safepoint.postgres.url import DatabaseUrl

needs_pgbouncer = pytest.mark.needs("pgbouncer")


@contextmanager
def pooled(cluster: Cluster, root: Path, mode: str, **settings: str) -> Generator[DatabaseUrl]:
    """The URL of a PgBouncer before the server; the process is gone afterwards."""
    program = find_program("pgbouncer")
    assert program is not None
    port = free_port()
    defaults = {"default_pool_size": "5", "listen_addr": "127.0.0.1", "auth_type": "trust", "unix_socket_dir": ""}
    options = defaults | {"pool_mode": mode, "listen_port": str(port), "auth_file": str(root / "users")} | settings
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    (root / "users").write_text('"postgres" ""\n')
    (root / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={cluster.socket_directory} port={cluster.port}\n[pgbouncer]\n{lines}"
    )
    for path in root.iterdir():
        cluster.user.own(path)
    process = spawn_program(cluster.user, [program, "-q", root / "pgbouncer.ini"])
    try:
        url = cluster.url().with_parameters(host="127.0.0.1", port=str(port))
        wait_for(url)
        yield url
    finally:
        end_program(process)


def wait_for(url: DatabaseUrl) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            psycopg.connect(url.conninfo()).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "PgBouncer did not come up"
            time.sleep(0.05)
        else:
            return


def test_direct_connection_is_direct(shared_server: Cluster) -> None:
    """A server's own URL is direct, also when it declares a pooler: what is found out wins."""
    url = DatabaseUrl.parse(f"{shared_server.url().reveal()}&pgbouncer=true")
    assert detect_pooling(url) is Pooling.DIRECT
    require_direct(url)


@needs_pgbouncer
@pytest.mark.pg("== 17")
@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("settings", [{}, {"server_round_robin": "1"}, {"default_pool_size": "1"}], ids=str)
def test_transaction_pooler_is_found(
    shared_server: Cluster, server_root: Path, mode: str, settings: dict[str, str]
) -> None:
    """A pool that shares servers between clients is found, however it picks them and however small it is."""
    with pooled(shared_server, server_root, mode, **settings) as url:
        assert detect_pooling(url) is Pooling.TRANSACTION


@needs_pgbouncer
@pytest.mark.pg("== 17")
@pytest.mark.parametrize("settings", [{}, {"server_round_robin": "1"}], ids=str)
def test_session_pooler_is_allowed(shared_server: Cluster, server_root: Path, settings: dict[str, str]) -> None:
    """A pool of sessions is told apart, and connections through it are made ready as any other."""
    with pooled(shared_server, server_root, "session", **settings) as url:
        assert detect_pooling(url) is Pooling.SESSION
        with connect(url) as connection:
            assert connection.execute("SHOW row_security").fetchone() == ("off",)


@needs_pgbouncer
@pytest.mark.pg("== 17")
def test_full_pool_is_unknown_and_refused(shared_server: Cluster, server_root: Path) -> None:
    """Where a second client gets no answer nothing is proven, and what is not proven is refused."""
    with pooled(shared_server, server_root, "session", default_pool_size="1") as url:
        assert detect_pooling(url, patience=0.5) is Pooling.UNKNOWN


@needs_pgbouncer
@pytest.mark.pg("== 17")
def test_transaction_pooler_is_refused_with_the_cure(shared_server: Cluster, server_root: Path) -> None:
    """PG005 says where it is and which URL to give instead, and nothing of ours was set in other clients' sessions."""
    with pooled(shared_server, server_root, "transaction") as url:
        with pytest.raises(SafepointError, match=r"PG005: found a transaction pooler at 127\.0\.0\.1 port") as caught:
            connect(url)
        assert any("DIRECT_URL" in hint.text for hint in caught.value.hints)
        with psycopg.connect(url.conninfo()) as client:
            assert client.execute("SHOW row_security").fetchone() == ("on",)


@needs_pgbouncer
@pytest.mark.pg("== 17")
def test_transaction_pooler_is_found_under_traffic(shared_server: Cluster, server_root: Path) -> None:
    """Other clients that take and leave servers meanwhile do not make a transaction pooler look like sessions."""
    with (
        pooled(shared_server, server_root, "transaction") as url,
        psycopg.connect(url.conninfo(), autocommit=True) as one,
        psycopg.connect(url.conninfo()) as two,
    ):
        for _ in range(5):
            one.execute("SELECT 1")
            two.execute("SELECT 1")  # holds a server until the rollback
            assert detect_pooling(url) is Pooling.TRANSACTION
            two.rollback()


@needs_pgbouncer
@pytest.mark.pg("== 17")
def test_transaction_pooler_that_takes_turns_is_found(shared_server: Cluster, server_root: Path) -> None:
    """Two servers handed out in turn look like two sessions at first, and are found out all the same."""
    with pooled(shared_server, server_root, "transaction", server_round_robin="1", default_pool_size="2") as url:
        with psycopg.connect(url.conninfo()) as one, psycopg.connect(url.conninfo()) as two:
            one.execute("SELECT 1")
            two.execute("SELECT 1")
        assert detect_pooling(url) is Pooling.TRANSACTION
