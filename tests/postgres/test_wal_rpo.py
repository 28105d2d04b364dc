"""RPO 0 and what is known of RPO: synchronous streaming, the canary, `wal status`, a copy that is refused."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import psycopg
import pytest

from backups import new_repository, receiving, system_identifier, wait_until
from receivers import SLOT, Named, process_into, slot_position, write
from safepoint import errors
from safepoint.backup.canary import Canary
from safepoint.backup.coverage import coverage_of
from safepoint.backup.receiver import WalReceiver
from safepoint.model.lsn import Lsn
from safepoint.postgres.cluster import Cluster, start, stop
from safepoint.postgres.connect import connect
from shell import shell_in

pytestmark = pytest.mark.pg("18")

WAITS = "SET synchronous_commit = on"
"""The servers of tests run with `off`: their commits wait for nobody, whatever synchronous_standby_names says."""


def settings(cluster: Cluster, *statements: str) -> None:
    with connect(cluster.url()) as connection:
        for statement in statements:
            connection.execute(statement.encode())
        connection.execute("SELECT pg_reload_conf()")


class Writer:
    """Commits row after row, and remembers the end of the WAL of each commit that was acknowledged."""

    def __init__(self, cluster: Cluster) -> None:
        self.acknowledged: list[Lsn] = []
        self._url = cluster.url()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        try:
            with psycopg.connect(self._url.conninfo(), autocommit=True) as connection:
                connection.execute(WAITS)
                while True:
                    with connection.transaction():
                        row = connection.execute(
                            "INSERT INTO kept VALUES (default) RETURNING pg_current_wal_insert_lsn()::text"
                        ).fetchone()
                    assert row is not None
                    self.acknowledged.append(Lsn.parse(row[0]))
        except psycopg.Error:
            return

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


def test_synchronous_no_acknowledged_commit_is_missing_when_all_is_killed(server: Cluster, server_root: Path) -> None:
    """Server and receiver killed at once, at random moments: every commit that was answered is in both repositories."""
    main, other = Named(server_root, "main"), Named(server_root, "other")
    identifier = system_identifier(server)
    settings(server, "CREATE TABLE kept (id int GENERATED ALWAYS AS IDENTITY)")
    for round_ in range(3):
        with process_into(server.url(), server_root, ["main", "other"], "is_synchronous=True") as process:
            wait_until(lambda: slot_position(server) > Lsn(0))
            let_commits_wait(server)
            writers = [Writer(server) for _ in range(3)]
            wait_until(lambda writers=writers: all(len(writer.acknowledged) > 20 for writer in writers))
            time.sleep(0.1 * round_)
            process.send_signal(signal.SIGKILL)
            stop(server, mode="immediate")
            process.wait()
        for writer in writers:
            writer.join()
        newest = max(lsn for writer in writers for lsn in writer.acknowledged)
        assert min(main.end(identifier), other.end(identifier)) > newest
        start(server)
        settings_without_waiting(server)
    assert coverage_of([], main.repository.wal_pieces(identifier)).gaps == ()


def let_commits_wait(cluster: Cluster) -> None:
    """From now on: the server's processes take a setting over one by one."""
    settings(cluster, f"ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 ({SLOT})'")
    with connect(cluster.url()) as connection:
        query = "SELECT 1 FROM pg_stat_replication WHERE application_name = %s AND sync_state = 'sync'"
        wait_until(lambda: connection.execute(query, [SLOT]).fetchone() is not None)
    time.sleep(0.5)


def settings_without_waiting(cluster: Cluster) -> None:
    """The setting off again: until then every commit would wait for a receiver."""
    with connect(cluster.url()) as connection:
        connection.execute("SET synchronous_commit = local")
        connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
        connection.execute("SELECT pg_reload_conf()")


def test_many_small_batches_leave_few_objects(server: Cluster, server_root: Path) -> None:
    """Hundreds of commits one by one, each stored before its answer: ranges are merged as they become many."""
    repository = new_repository(server_root)
    identifier = system_identifier(server)
    settings(server, "CREATE TABLE kept (id int GENERATED ALWAYS AS IDENTITY)")
    with receiving(server.url(), repository, is_synchronous=True):
        wait_until(lambda: slot_position(server) > Lsn(0))
        let_commits_wait(server)
        with connect(server.url()) as connection:
            connection.execute(WAITS)
            for _ in range(400):
                connection.execute("INSERT INTO kept VALUES (default)")
            settings_without_waiting(server)

    assert len(repository.wal_pieces(identifier)) < 60


def test_the_canary_is_a_ring_of_rows_on_the_primary(server: Cluster) -> None:
    """Bounded, in order, each with a position before its own commit."""
    canary = Canary(ring=5)
    for _ in range(12):
        canary.sing(server.url())
    canary.close()
    with connect(server.url()) as connection:
        rows = connection.execute(
            "SELECT number, written_at, insert_lsn FROM safepoint.canary ORDER BY number"
        ).fetchall()

    assert [row[0] for row in rows] == [8, 9, 10, 11, 12]
    assert rows == sorted(rows, key=lambda row: (row[1], Lsn.parse(row[2])))


def test_a_server_that_may_not_be_written_to_has_no_canary_and_no_trouble(server: Cluster) -> None:
    """Read-only is a state, no error."""
    settings(server, "ALTER SYSTEM SET default_transaction_read_only = on")
    wait_until(lambda: _is_read_only(server))
    canary = Canary()

    canary.sing(server.url())
    canary.close()

    with connect(server.url()) as connection:
        row = connection.execute("SELECT to_regclass('safepoint.canary') IS NULL").fetchone()
    assert row == (True,)


def _is_read_only(cluster: Cluster) -> bool:
    with connect(cluster.url()) as connection:
        row = connection.execute("SELECT current_setting('default_transaction_read_only')").fetchone()
    return row == ("on",)


def test_a_restored_copy_is_refused(server: Cluster, server_root: Path) -> None:
    """WL006, before a slot is made or a byte is stored."""
    with (server.data / "postgresql.conf").open("a") as file:
        file.write("safepoint.copy_of = '20260301T120000Z-1'\n")
    stop(server)
    start(server)
    repository = new_repository(server_root)

    with pytest.raises(errors.Refused) as caught:
        WalReceiver(url=server.url(), repository=repository, database="shop").run()

    assert caught.value.spec is errors.WL006
    assert slot_position(server) == Lsn(0)
    assert repository.wal_pieces(system_identifier(server)) == ()


def test_wal_status_tells_slots_repositories_and_rpo(server: Cluster, server_root: Path) -> None:
    """Good while a receiver runs; bad, and exit 3, once none does; a repository that is away is unknown."""
    shell = shell_in(server_root / "project", DATABASE_URL=server.url().reveal())
    shell.write(
        "safepoint.toml",
        '[database.shop]\nurl = "env:DATABASE_URL"\n'
        f'[repository.main]\nurl = "file:{server_root}/main"\nkey = "none"\n'
        f'[repository.far]\nurl = "file:{server_root}/far"\nkey = "none"\nmode = "eventual"\n'
        '[wal.shop]\nkeep = "35d"\nslot_limit = "10GB"\ncanary = "1s"\n',
    )
    main, far = Named(server_root, "main"), Named(server_root, "far", is_required=False)
    identifier = system_identifier(server)
    with receiving(server.url(), None, sinks=(main.sink, far.sink)):  # type: ignore[arg-type]
        end = write(server)
        wait_until(lambda: min(main.end(identifier), far.end(identifier)) >= end)
        time.sleep(0.5)
        good = shell.safepoint("wal", "status", "--json")
        shell.safepoint("wal", "status")
    bad = shell.safepoint("wal", "status", "--json", ends=3)
    (server_root / "far").rename(server_root / "gone")
    away = shell.safepoint("wal", "status", "--json", ends=3)

    (slot,) = good.json["servers"][0]["slots"]
    assert (slot["name"], slot["is_active"], slot["limit_bytes"]) == (SLOT, True, 10 << 30)
    assert [(item["name"], item["is_required"]) for item in good.json["repositories"]] == [
        ("main", True),
        ("far", False),
    ]
    assert 0 <= good.json["rpo_seconds"] < 10
    assert Lsn.parse(good.json["repositories"][0]["durable_lsn"]) >= end
    states = {(item["check"], item["state"]) for item in bad.json["findings"]}
    assert ("slot", "bad") in states
    assert ("repository", "unknown") in {(item["check"], item["state"]) for item in away.json["findings"]}
