"""Under terminated connections, a crash and a release, the log tells exactly what the server acknowledged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from vivr_shop import commitlog
from vivr_shop.commitlog import CommitLog
from vivr_shop.migrations import HISTORY, NEXT_RELEASE, apply_migrations

DEADLINE = 20.0


@contextmanager
def _traffic(url: str, folder: Path, *options: str) -> Iterator[Path]:
    """Shoppers shop inside the block and have ended cleanly after it; gives their log."""
    (folder / "url").write_text(url + "&schema=public\n")
    log = folder / "log"
    command = [sys.executable, "-m", "vivr_shop", "traffic", "--url-file", str(folder / "url"), "--log", str(log)]
    environment = {"PYTHONPATH": str(HISTORY.parents[1]), "PATH": os.environ["PATH"]}
    process = subprocess.Popen([*command, *options], env=environment)
    try:
        _wait_until(lambda: log.exists() and log.stat().st_size > 0)
        yield log
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.wait()


def _wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE
    while not happened():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def _wait_for_commits(path: Path, version: str, number: int) -> None:
    """So many more commits of that version are acknowledged than when this was called."""
    wanted = _commits_of(path, version) + number
    _wait_until(lambda: _commits_of(path, version) >= wanted)


def _commits_of(path: Path, version: str) -> int:
    return sum(commit.version == version for commit in commitlog.read(path).commits)


def _shoppers(path: Path) -> set[str]:
    """Who has committed anything so far."""
    return {commit.shopper for commit in commitlog.read(path).commits}


def _count(url: str, query: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row
        return int(row[0])


def _terminate_shoppers(url: str) -> None:
    ended = _count(
        url,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name LIKE 'vivr-%' AND datname = current_database()",
    )
    assert ended


def _must_be_exactly_what_the_database_has(url: str, log: CommitLog) -> None:
    """No acknowledged commit is missing, and every row of the traffic has a line: acknowledged, or unknown."""
    with psycopg.connect(url) as connection:
        assert commitlog.missing(connection, log.commits) == []
        lost = {commit.n for commit in commitlog.missing(connection, log.unknown)}
    happened = [*log.commits, *(commit for commit in log.unknown if commit.n not in lost)]
    kinds = {kind: sum(commit.kind == kind for commit in happened) for kind in ("order", "payment", "review")}
    assert kinds == {
        "order": _count(url, 'SELECT count(*) FROM "Order" WHERE "orderNumber" LIKE \'W-%\''),
        "payment": _count(
            url,
            'SELECT count(*) FROM "Payment" p JOIN "Order" o ON o."id" = p."orderId"'
            " WHERE \"orderNumber\" LIKE 'W-%' AND p.\"status\" = 'SUCCEEDED'",
        ),
        "review": _count(url, 'SELECT count(*) FROM "Review" WHERE "title" = \'Written by traffic\''),
    }


def test_every_acknowledged_commit_is_in_the_database(new_shop: Callable[..., str], tmp_path: Path) -> None:
    url = new_shop(is_filled=True)
    with _traffic(url, tmp_path, "--rate", "0") as path:
        _wait_for_commits(path, "old", 200)
    log = commitlog.read(path)
    assert log.is_ended
    assert log.failures == ()
    assert log.unknown == ()
    _must_be_exactly_what_the_database_has(url, log)


def test_the_xid_is_that_of_the_commit(new_shop: Callable[..., str], tmp_path: Path) -> None:
    """The server's own commit time lies between COMMIT's sending and its answer (one clock, one machine)."""
    url = new_shop(is_filled=True)
    with _traffic(url, tmp_path) as path:
        _wait_for_commits(path, "old", 20)
    with psycopg.connect(url) as connection:
        for commit in commitlog.read(path).commits:
            row = connection.execute("SELECT pg_xact_commit_timestamp(%s::text::xid)", (commit.xid,)).fetchone()
            assert row
            assert commit.sent_at <= row[0] <= commit.acknowledged_at


def test_stock_and_money_are_right_after_traffic(new_shop: Callable[..., str], tmp_path: Path) -> None:
    url = new_shop(is_filled=True)
    before = _count(url, 'SELECT sum("quantity") FROM "Inventory"')
    with _traffic(url, tmp_path, "--rate", "0") as path:
        _wait_for_commits(path, "old", 100)
    sold = _count(
        url,
        'SELECT sum("quantity") FROM "OrderItem" i JOIN "Order" o ON o."id" = i."orderId"'
        " WHERE \"orderNumber\" LIKE 'W-%'",
    )
    assert _count(url, 'SELECT sum("quantity") FROM "Inventory"') == before - sold
    assert not _count(
        url,
        'SELECT count(*) FROM "Order" o JOIN "Payment" p ON p."orderId" = o."id" WHERE o."total" <> p."amount" OR '
        'o."total" <> (SELECT sum("total") FROM "OrderItem" i WHERE i."orderId" = o."id") + o."tax" + o."shipping"',
    )


def test_terminated_connections_lose_nothing(new_shop: Callable[..., str], tmp_path: Path) -> None:
    url = new_shop(is_filled=True)
    with _traffic(url, tmp_path, "--rate", "0", "--old", "3") as path:
        for _ in range(8):
            _wait_for_commits(path, "old", 20)
            _terminate_shoppers(url)
        _wait_for_commits(path, "old", 20)
    log = commitlog.read(path)
    assert "57P01" in {failure.sqlstate for failure in log.failures}
    _must_be_exactly_what_the_database_has(url, log)


def test_a_crash_of_the_server_loses_nothing(server: object, new_shop: Callable[..., str], tmp_path: Path) -> None:
    """Stopped immediately, down for a second, started: shoppers come back by themselves, and the stall is seen."""
    url = new_shop(is_filled=True)
    with _traffic(url, tmp_path, "--rate", "0", "--old", "3") as path:
        _wait_for_commits(path, "old", 50)
        server.stop("immediate")  # type: ignore[attr-defined]
        time.sleep(1)
        server.start()  # type: ignore[attr-defined]
        _wait_for_commits(path, "old", 50)
    log = commitlog.read(path)
    stall = log.longest_stall()
    assert stall
    assert stall.seconds > 1
    assert log.failures
    _must_be_exactly_what_the_database_has(url, log)


def test_a_lost_commit_is_named(new_shop: Callable[..., str], tmp_path: Path) -> None:
    """One order's item, one payment's status and one review are undone behind the shoppers' backs."""
    url = new_shop(is_filled=True)
    with _traffic(url, tmp_path, "--rate", "0") as path:
        _wait_for_commits(path, "old", 60)
    commits = commitlog.read(path).commits
    order, payment, review = (
        next(commit for commit in commits if commit.kind == kind) for kind in ("order", "payment", "review")
    )
    with psycopg.connect(url) as connection:
        connection.execute('DELETE FROM "OrderItem" WHERE "id" = %s', (order.ids["OrderItem"][0],))
        connection.execute('UPDATE "Payment" SET "status" = \'PENDING\' WHERE "id" = %s', (payment.ids["Payment"][0],))
        connection.execute('DELETE FROM "Review" WHERE "id" = %s', (review.ids["Review"][0],))
        lost = commitlog.missing(connection, commits)
    assert lost == sorted([order, payment, review], key=lambda commit: commit.n)


def test_old_and_new_shop_at_once_after_the_next_release(new_shop: Callable[..., str], tmp_path: Path) -> None:
    """The new version fails with "undefined column" before it, the old one neither before nor after."""
    url = new_shop(is_filled=True)
    (tmp_path / "shoppers").write_text(json.dumps({"old": 2, "new": 1}))
    with _traffic(url, tmp_path, "--shoppers-file", str(tmp_path / "shoppers")) as path:
        _wait_until(lambda: bool(commitlog.read(path).failures) and _shoppers(path) == {"old-1", "old-2"})
        with psycopg.connect(url, autocommit=True) as connection:
            apply_migrations(connection, NEXT_RELEASE)
        (tmp_path / "shoppers").write_text(json.dumps({"old": 1, "new": 2}))
        _wait_until(lambda: _shoppers(path) == {"old-1", "old-2", "new-3", "new-4"})
        for version in ("new", "old"):
            _wait_for_commits(path, version, 30)
    log = commitlog.read(path)
    assert {(failure.version, failure.sqlstate) for failure in log.failures} == {("new", "42703")}
    assert _count(url, 'SELECT count(*) FROM "Order" WHERE "couponCode" IS NOT NULL')
    assert _count(url, 'SELECT count(*) FROM "Order" WHERE "giftNote" IS NOT NULL')
    _must_be_exactly_what_the_database_has(url, log)


def test_shoppers_follow_the_url_file(new_shop: Callable[..., str], tmp_path: Path) -> None:
    first, second = new_shop(is_filled=True), new_shop(is_filled=True)
    with _traffic(first, tmp_path) as path:
        _wait_for_commits(path, "old", 10)
        (tmp_path / "url").write_text(second)
        _terminate_shoppers(first)
        _wait_for_commits(path, "old", 10)
        _wait_until(lambda: _count(second, 'SELECT count(*) FROM "Order" WHERE "orderNumber" LIKE \'W-%\'') > 0)


def test_a_read_only_server_is_an_error_and_never_a_commit(new_shop: Callable[..., str], tmp_path: Path) -> None:
    url = new_shop(is_filled=True)
    database = url.split("/")[3].split("?")[0]
    with _traffic(url, tmp_path) as path, psycopg.connect(url, autocommit=True) as connection:
        _wait_for_commits(path, "old", 10)
        connection.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on".encode())
        _terminate_shoppers(url)
        _wait_until(lambda: any(failure.sqlstate == "25006" for failure in commitlog.read(path).failures))
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only".encode())
        _wait_for_commits(path, "old", 10)
    _must_be_exactly_what_the_database_has(url, commitlog.read(path))


def test_a_shopper_who_waits_for_a_lock_leaves_when_asked(new_shop: Callable[..., str], tmp_path: Path) -> None:
    """The end of the traffic cuts the connection, and the log is whole all the same."""
    url = new_shop(is_filled=True)
    with psycopg.connect(url) as connection:
        with _traffic(url, tmp_path) as path:
            _wait_for_commits(path, "old", 10)
            connection.execute('LOCK TABLE "Order", "Product", "Payment", "Review" IN ACCESS EXCLUSIVE MODE')
            time.sleep(0.5)
        connection.rollback()
    log = commitlog.read(path)
    assert log.is_ended
    assert log.failures
    _must_be_exactly_what_the_database_has(url, log)


@pytest.mark.parametrize("end", ["pg_cancel_backend", "pg_terminate_backend", None])
def test_a_commit_without_a_clear_answer_is_unknown(
    new_shop: Callable[..., str], tmp_path: Path, end: str | None
) -> None:
    """COMMIT waits for a standby; the wait is cancelled, the session terminated, or the traffic ended meanwhile.

    One shopper only: another could wait for a row that the first keeps locked until COMMIT is answered.
    """
    url = new_shop(is_filled=True)
    database = url.split("/")[3].split("?")[0]
    waiting = (
        " FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event = 'SyncRep' AND application_name LIKE 'vivr-%'"
    )
    with _traffic(url, tmp_path, "--old", "1") as path, psycopg.connect(url, autocommit=True) as connection:
        _wait_for_commits(path, "old", 10)
        connection.execute(f"ALTER DATABASE {database} SET synchronous_commit = on".encode())
        _terminate_shoppers(url)
        _wait_until(lambda: _count(url, "SELECT count(*)" + waiting) == 1)
        connection.execute(f"ALTER DATABASE {database} RESET synchronous_commit".encode())
        if end:
            connection.execute(f"SELECT {end}(pid) {waiting}".encode())
            _wait_for_commits(path, "old", 10)
    log = commitlog.read(path)
    assert len(log.unknown) == 1
    _must_be_exactly_what_the_database_has(url, log)


def test_the_traffic_refuses_an_existing_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    command = [sys.executable, "-m", "vivr_shop", "traffic", "--url-file", "url", "--log", str(tmp_path / "log")]
    environment = {"PYTHONPATH": str(HISTORY.parents[1]), "PATH": os.environ["PATH"]}
    result = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "File exists" in result.stderr
