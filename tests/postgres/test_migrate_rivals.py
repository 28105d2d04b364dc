"""Deployments that run into one another: a unit is carried out once, whoever planned it when."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from migrating import UNSAFE, ask, deploy, folder_of, ledger, open_transaction
from safepoint.errors import Refused, SafepointError
from safepoint.migration.deploy import deploy_actions, open_deployment, plan_deploy
from safepoint.postgres.url import DatabaseUrl
from safepoint.steps.execute import execute
from safepoint.steps.plan import Plan

pytestmark = pytest.mark.pg(">= 18")

SLOW = "INSERT INTO a VALUES (1); SELECT pg_sleep(1.5);\nVACUUM a;\nINSERT INTO a VALUES (2);"
CONTROL = (
    "SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objid = %s AND granted"
)
LEASE = 0x5AFE9017


def carry_out(url: DatabaseUrl, plan: Plan) -> None:
    with open_deployment(url, plan, schema="public") as deployment:
        execute(plan, actions=deploy_actions(deployment, safety=None), journal=deployment.journal)


def until(url: DatabaseUrl, query: str) -> None:
    deadline = time.monotonic() + 20
    while not ask(url, query):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_unit_committed_by_a_run_that_lost_its_lease_is_not_repeated(database: DatabaseUrl, tmp_path: Path) -> None:
    """The first run's lease ends with its control session while its unit goes on: the second finds the unit done."""
    deploy(database, folder_of(tmp_path, {"1": "CREATE TABLE a (i int);"}))
    folder = folder_of(tmp_path, {"2": SLOW})
    ended: list[SafepointError] = []

    def first() -> None:
        try:
            deploy(database, folder)
        except SafepointError as error:
            ended.append(error)

    runner = threading.Thread(target=first)
    runner.start()
    until(database, "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1.5)%' AND pid <> pg_backend_pid()")
    second = plan_deploy(database, folder, settings=UNSAFE)
    assert ask(database, CONTROL, LEASE) == [(True,)]
    until(database, f"SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM pg_locks WHERE objid = {LEASE})")
    with pytest.raises(Refused, match=r"MG006: found unit 1 of 3 of 2 carried out by somebody else"):
        carry_out(database, second)
    runner.join()
    assert [error.spec.code for error in ended] == ["PG004"]
    deploy(database, folder)
    assert ask(database, "SELECT i FROM a ORDER BY i") == [(1,), (2,)]
    assert ledger(database) == [("1", True), ("2", True)]


def test_a_statement_that_two_runs_saw_done_has_one_row(database: DatabaseUrl, tmp_path: Path) -> None:
    """Both runs find the index built; whoever keeps the books second finds them kept."""
    deploy(database, folder_of(tmp_path, {"1": "CREATE TABLE a (i int);"}))
    folder = folder_of(tmp_path, {"2": "CREATE INDEX CONCURRENTLY a_i ON a (i)"})
    ended: list[SafepointError] = []

    def first() -> None:
        try:
            deploy(database, folder)
        except SafepointError as error:
            ended.append(error)

    with open_transaction(database, "INSERT INTO a VALUES (2)") as writer:
        runner = threading.Thread(target=first)
        runner.start()
        until(database, "SELECT 1 FROM pg_index WHERE NOT indisvalid")
        second = plan_deploy(database, folder, settings=UNSAFE)
        ask(database, CONTROL, LEASE)
        until(database, f"SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM pg_locks WHERE objid = {LEASE})")
        end = threading.Timer(1.0, writer.connection.rollback)
        end.start()
        try:
            carry_out(database, second)
        except SafepointError as error:
            ended.append(error)
        end.join()
    runner.join()
    assert {error.spec.code for error in ended} <= {"PG004", "MG006"}
    assert ledger(database) == [("1", True), ("2", True)]
    assert plan_deploy(database, folder).steps == ()
