"""kill -9 at every moment of every unit: the next run converges, and the ledger is exact."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from migrating import ask, deploy, folder_of, invalid_indexes, ledger, open_transaction
from safepoint.errors import Refused
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl

pytestmark = pytest.mark.pg("!= 17")

FILES = {
    "1_init": "CREATE TABLE a (i int); INSERT INTO a VALUES (1);",
    "2_mixed": """
        CREATE TABLE log (note text);
        CREATE UNIQUE INDEX CONCURRENTLY a_i ON a (i);
        INSERT INTO log VALUES ('once');
        DROP INDEX CONCURRENTLY a_i;
        VACUUM log;
        CREATE INDEX CONCURRENTLY a_i_2 ON a (i);
    """,
}
TRANSACTIONS = ("1_init/1", "2_mixed/1", "2_mixed/3")
ALONE = ("2_mixed/2", "2_mixed/4", "2_mixed/5", "2_mixed/6")
SCRIPT = Path(__file__).with_name("deploy_and_die.py")


def die(url: DatabaseUrl, folder: Path, step: str, moment: str) -> None:
    """A deployment that was killed right there."""
    arguments = [sys.executable, str(SCRIPT), url.reveal(), str(folder), step, moment]
    environment = {"PYTHONPATH": f"{SCRIPT.parent.parent}", "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def must_have_converged(url: DatabaseUrl) -> None:
    assert ledger(url) == [("1_init", True), ("2_mixed", True)]
    assert ask(url, "SELECT i FROM a") == [(1,)]
    assert ask(url, "SELECT note FROM log") == [("once",)]
    assert ask(url, "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 'a'::regclass") == [
        ("a_i_2", True)
    ]
    assert invalid_indexes(url) == []


@pytest.mark.parametrize(
    ("step", "moment"),
    [
        *[(step, moment) for step in TRANSACTIONS for moment in ("started", "done", "ended")],
        *[(step, moment) for step in ALONE for moment in ("started", "done", "ended")],
        ("gate", "ended"),
        ("ledger", "ended"),
        ("confirm", "started"),
    ],
)
@pytest.mark.pg(">= 18")
def test_a_killed_deployment_is_finished_by_the_next(
    database: DatabaseUrl, tmp_path: Path, step: str, moment: str
) -> None:
    """Whatever was committed is not repeated, whatever was not is, and Prisma's rows are never unfinished."""
    folder = folder_of(tmp_path, FILES)
    die(database, folder, step, moment)
    assert ask(database, "SELECT count(*) FROM pg_class WHERE relname = '_prisma_migrations'")[0][0] in {0, 1}
    if ask(database, "SELECT to_regclass('_prisma_migrations') IS NOT NULL")[0][0]:
        assert ask(database, "SELECT count(*) FROM _prisma_migrations WHERE finished_at IS NULL") == [(0,)]
    deploy(database, folder)
    must_have_converged(database)


@pytest.mark.parametrize("step", ALONE)
def test_a_statement_that_was_carried_out_before_the_kill_is_not_a_riddle(
    database: DatabaseUrl, tmp_path: Path, step: str
) -> None:
    """Killed between a statement alone and its books: the catalog tells that it is done, or it is repeated safely."""
    folder = folder_of(tmp_path, FILES)
    die(database, folder, step, "sent")
    run = deploy(database, folder)
    found = run.outcomes[step]["statement"]
    assert found == ("sent" if step == "2_mixed/5" else "found done by an earlier attempt")
    must_have_converged(database)


def test_what_nobody_can_tell_is_refused_with_both_ways_out(database: DatabaseUrl, tmp_path: Path) -> None:
    """MG010 for a statement that may have been carried out and must not be repeated; each answer leads on."""
    script = "DO $$ BEGIN INSERT INTO a VALUES (2); COMMIT; END $$;"
    folder = folder_of(tmp_path, {"1": "CREATE TABLE a (i int);", "2": script})
    die(database, folder, "2/1", "sent")
    with pytest.raises(Refused, match=r"MG010: found line 1 of 2/migration\.sql begun by a run") as caught:
        deploy(database, folder)
    settle = next(hint.text for hint in caught.value.hints if "if it was:" in hint.text)
    ask(database, settle.split("`")[1])
    deploy(database, folder)
    assert ask(database, "SELECT i FROM a") == [(2,)]
    assert ledger(database) == [("1", True), ("2", True)]


def test_a_build_that_a_killed_client_left_running_is_waited_for(database: DatabaseUrl, tmp_path: Path) -> None:
    """The server may go on for a client that is dead: its index is neither dropped nor built twice."""
    deploy(database, folder_of(tmp_path, {"1": "CREATE TABLE a (i int); INSERT INTO a VALUES (1);"}))
    folder = folder_of(tmp_path, {"2": "CREATE INDEX CONCURRENTLY a_i ON a (i)"})

    def build() -> None:
        with connect(database) as client:
            client.execute("CREATE INDEX CONCURRENTLY a_i ON a (i)")

    with open_transaction(database, "INSERT INTO a VALUES (2)") as writer:
        builder = threading.Thread(target=build)
        builder.start()
        while not invalid_indexes(database):
            time.sleep(0.02)
        die(database, folder_of(tmp_path, {"2": "CREATE INDEX CONCURRENTLY a_i ON a (i)"}), "2/1", "started")
        end = threading.Timer(0.5, writer.connection.rollback)
        end.start()
        run = deploy(database, folder)
        end.join()
        builder.join()
    assert run.outcomes["2/1"]["statement"] == "found done by an earlier attempt"
    assert invalid_indexes(database) == []


def test_a_lost_session_is_settled_by_the_journal(database: DatabaseUrl, tmp_path: Path) -> None:
    """A session that is terminated in the middle of a unit leaves nothing, and the unit runs again, once."""
    deploy(database, folder_of(tmp_path, {"1": "CREATE TABLE a (i int);"}))
    folder = folder_of(tmp_path, {"2": "INSERT INTO a VALUES (1);\nSELECT pg_sleep(0.7);"})

    def terminate() -> None:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
        for _ in range(200):
            if ask(database, query + " AND datname = current_database()"):
                return
            time.sleep(0.02)

    killer = threading.Thread(target=terminate)
    killer.start()
    run = deploy(database, folder)
    killer.join()
    assert int(str(run.outcomes["2/1"]["attempts"])) == 2
    assert ask(database, "SELECT i FROM a") == [(1,)]
    assert ledger(database) == [("1", True), ("2", True)]
