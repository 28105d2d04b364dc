"""Locks: traffic is never queued for longer than one attempt, and who is in the way is named."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest

from migrating import HASTE, UNSAFE, ask, deploy, folder_of, invalid_indexes, ledger, open_transaction
from safepoint.errors import Unreachable
from safepoint.migration.deploy import DeploySettings, LockBudget
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl

pytestmark = pytest.mark.pg("!= 17")

TABLE = "CREATE TABLE a (i int); INSERT INTO a VALUES (1);"
ALTER = "ALTER TABLE a ADD COLUMN j int;"
SHORT = DeploySettings(
    locks=LockBudget(timeout=timedelta(milliseconds=300), total=timedelta(seconds=1.5)), without_backup="a test"
)


class Readers:
    """A client that reads table a all the time; `longest` is its longest wait in seconds."""

    def __init__(self, url: DatabaseUrl) -> None:
        self.longest = 0.0
        self.count = 0
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _read(self) -> None:
        with connect(self._url) as connection:
            while not self._over.is_set():
                began = time.monotonic()
                connection.execute("SELECT count(i) FROM a")
                self.longest = max(self.longest, time.monotonic() - began)
                self.count += 1
                time.sleep(0.005)


def test_readers_go_on_while_a_lock_is_waited_for(database: DatabaseUrl, tmp_path: Path) -> None:
    """Behind a reader that stays for two seconds, others wait for one attempt at most; then it is deployed."""
    deploy(database, folder_of(tmp_path, {"1": TABLE}))
    folder = folder_of(tmp_path, {"2": ALTER})
    with open_transaction(database, "SELECT * FROM a") as reader, Readers(database) as readers:
        end = threading.Timer(2.0, reader.connection.rollback)
        end.start()
        run = deploy(database, folder)
        end.join()
    outcome = run.outcomes["2/1"]
    assert ledger(database)[-1] == ("2", True)
    assert int(str(outcome["attempts"])) > 1
    assert f"pid {reader.pid} (bystander, idle in transaction" in str(outcome["blocked_by"])
    assert readers.count > 50
    assert readers.longest < HASTE.timeout.total_seconds() + 0.5


def test_a_spent_budget_names_who_blocks_and_changes_nothing(database: DatabaseUrl, tmp_path: Path) -> None:
    """MG005 with pid, application, state, age and query; the table is as it was, and no row blocks anybody."""
    deploy(database, folder_of(tmp_path, {"1": TABLE}))
    folder = folder_of(tmp_path, {"2": ALTER})
    with (
        open_transaction(database, "SELECT * FROM a") as reader,
        pytest.raises(Unreachable, match=f"MG005: .*pid {reader.pid} \\(bystander, idle in transaction") as caught,
    ):
        deploy(database, folder, settings=SHORT)
    assert "SELECT * FROM a" in caught.value.message
    assert any(f"pg_terminate_backend({reader.pid})" in hint.text for hint in caught.value.hints)
    assert ask(database, "SELECT count(*) FROM pg_attribute WHERE attrelid = 'a'::regclass AND attnum > 0") == [(1,)]
    assert ledger(database) == [("1", True)]
    deploy(database, folder)
    assert ledger(database)[-1] == ("2", True)


def test_the_strategys_lock_timeout_holds_against_the_files(database: DatabaseUrl, tmp_path: Path) -> None:
    """A dump's `SET lock_timeout = 0` would let one statement queue all traffic for ever."""
    deploy(database, folder_of(tmp_path, {"1": TABLE}))
    script = "SET lock_timeout = 0; SELECT set_config('lock_timeout', '0', false); RESET ALL;" + ALTER
    folder = folder_of(tmp_path, {"2": script})
    with open_transaction(database, "SELECT * FROM a"), pytest.raises(Unreachable, match="MG005"):
        deploy(database, folder, settings=SHORT)


def test_a_concurrent_build_waits_for_old_transactions_first(database: DatabaseUrl, tmp_path: Path) -> None:
    """An old transaction that stays ends as MG005 with its name, and no invalid index was made."""
    deploy(database, folder_of(tmp_path, {"1": TABLE}))
    folder = folder_of(tmp_path, {"2": "CREATE INDEX CONCURRENTLY a_i ON a (i)"})
    with open_transaction(database, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1") as old:
        time.sleep(0.4)
        with pytest.raises(Unreachable, match=f"MG005: found unit 1 of 1 of 2 blocked by pid {old.pid} "):
            deploy(database, folder, settings=SHORT)
        assert ask(database, "SELECT to_regclass('a_i')") == [(None,)]
        end = threading.Timer(0.7, old.connection.rollback)
        end.start()
        deploy(database, folder)
        end.join()
    assert ledger(database)[-1] == ("2", True)
    assert invalid_indexes(database) == []


def test_a_concurrent_build_that_stays_blocked_is_withdrawn(database: DatabaseUrl, tmp_path: Path) -> None:
    """A transaction that came after the first look blocks the build: it is cancelled, and its leftover taken away."""
    deploy(database, folder_of(tmp_path, {"1": TABLE}))
    folder = folder_of(tmp_path, {"2": "CREATE INDEX CONCURRENTLY a_i ON a (i)"})
    slow = DeploySettings(
        locks=LockBudget(timeout=timedelta(seconds=30), total=timedelta(seconds=1.5)), without_backup="a test"
    )
    with open_transaction(database, "INSERT INTO a VALUES (2)") as writer:
        end = threading.Timer(4.0, writer.connection.rollback)
        end.start()
        with pytest.raises(Unreachable, match=f"MG005: .*pid {writer.pid} "):
            deploy(database, folder, settings=slow)
        end.join()
    assert invalid_indexes(database) == []


def test_a_deadlock_is_tried_again(database: DatabaseUrl, tmp_path: Path) -> None:
    """40P01 takes the unit back, and its next attempt goes through."""
    deploy(database, folder_of(tmp_path, {"1": TABLE + "CREATE TABLE b (i int); INSERT INTO b VALUES (1);"}))
    folder = folder_of(tmp_path, {"2": "ALTER TABLE a ADD COLUMN j int;\nALTER TABLE b ADD COLUMN j int;"})
    patient = DeploySettings(locks=LockBudget(timeout=timedelta(seconds=3)), without_backup="a test")
    outcome: list[BaseException | None] = []

    def cross() -> None:
        with connect(database, autocommit=False) as client:
            client.execute("SET deadlock_timeout = '30s'")
            client.execute("SELECT * FROM b")
            for _ in range(200):
                if ask(database, "SELECT 1 FROM pg_locks WHERE relation = 'b'::regclass AND NOT granted"):
                    break
                time.sleep(0.02)
            try:
                client.execute("SELECT * FROM a")
                outcome.append(None)
            except Exception as error:  # noqa: BLE001 - told to the test
                outcome.append(error)

    client = threading.Thread(target=cross)
    client.start()
    time.sleep(0.3)
    run = deploy(database, folder, settings=patient)
    client.join()
    assert outcome == [None]
    assert int(str(run.outcomes["2/1"]["attempts"])) > 1
    assert ledger(database)[-1] == ("2", True)


def test_an_untouched_default_waits_as_the_strategy_document_says() -> None:
    """Two seconds an attempt, five minutes a unit."""
    assert DeploySettings().locks == LockBudget(timeout=timedelta(seconds=2), total=timedelta(minutes=5))
    assert UNSAFE.locks.timeout_ms == 300
