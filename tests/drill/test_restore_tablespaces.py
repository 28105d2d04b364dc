"""Tablespaces of a standby, of an export and of a dry run; and the slot of a standby that fails."""

from __future__ import annotations

from collections.abc import Generator

import pytest

import servers
from backups import (
    connected,
    flushed,
    new_repository,
    receiving,
    take_backup,
    wait_until,
)
from restoring import EIGHTEEN, SETTINGS, Production, durable
from safepoint import errors
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import adopt_cluster, remove_cluster, start, stop
from safepoint.postgres.connect import connect
from safepoint.recovery.options import Purpose

pytestmark = EIGHTEEN
SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE 'safepoint_standby_%'"


@pytest.fixture(scope="module")
def production(major: int) -> Generator[Production]:
    """The table in the tablespace has a thousand rows, and one more in the WAL held."""
    with servers.server_directory() as root:
        repository = new_repository(root)
        with servers.serving(root, major, SETTINGS) as primary, connect(primary.url()) as connection:
            primary.user.make_directory(root / "elsewhere")
            connection.execute(f"CREATE TABLESPACE fast LOCATION '{root / 'elsewhere'}'".encode())
            connection.execute("CREATE TABLE t TABLESPACE fast AS SELECT generate_series(1, 1000) AS id")
            with receiving(primary.url(), repository):
                backup = take_backup(primary.url(), repository)
                connection.execute("INSERT INTO t VALUES (1001)")
                end = flushed(connection)
                wait_until(lambda: durable(repository, backup) >= end)
            yield Production(root=root, cluster=primary, repository=repository, backup=backup)


def test_a_standby_runs_on_a_tablespace_left_in_place(production: Production, major: int) -> None:
    """Recovery would end at a directory in pg_tblspc that is no link."""
    into = production.root / "standby"
    run = production.carry_out("standby", purpose=Purpose.STANDBY)

    with connected(into, major) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1001,)
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        connection.close()
        stop(adopt_cluster(into, find_binaries(major)))
    with connect(production.cluster.url()) as connection:
        assert connection.execute(SLOTS).fetchall() == [(run.outcomes["slot"]["slot"],)]
        connection.execute("SELECT pg_drop_replication_slot(%s)", [run.outcomes["slot"]["slot"]])


def test_a_standby_that_fails_leaves_no_slot_and_the_same_command_makes_it_again(
    production: Production, major: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step that made the slot is journalled as done; the one that goes on needs it all the same."""

    def failing(*_: object) -> None:
        raise errors.RC009.error("found no stream, expected one")

    with monkeypatch.context() as patch:
        patch.setattr("safepoint.recovery.actions.follow", failing)
        with pytest.raises(errors.Unreachable) as caught:
            production.carry_out("failing", purpose=Purpose.STANDBY)

    assert "production and repository are untouched" in caught.value.changed
    with connect(production.cluster.url()) as connection:
        assert connection.execute(SLOTS).fetchall() == []
        run = production.carry_out("failing", purpose=Purpose.STANDBY)
        assert connection.execute(SLOTS).fetchall() == [(run.outcomes["slot"]["slot"],)]
        cluster = adopt_cluster(production.root / "failing", find_binaries(major))
        stop(cluster)
        remove_cluster(cluster)
        connection.execute("SELECT pg_drop_replication_slot(%s)", [run.outcomes["slot"]["slot"]])


def test_a_slot_that_cannot_be_dropped_is_named(production: Production, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told that production is untouched while it keeps WAL for a standby that is not there."""

    def failing(*_: object) -> None:
        stop(production.cluster)
        raise errors.RC009.error("found no stream, expected one")

    monkeypatch.setattr("safepoint.recovery.actions.follow", failing)
    try:
        with pytest.raises(errors.Unreachable) as caught:
            production.carry_out("lost", purpose=Purpose.STANDBY)
    finally:
        start(production.cluster)

    with connect(production.cluster.url()) as connection:
        row = connection.execute(SLOTS).fetchone()
        assert row is not None
        assert "production" not in caught.value.changed
        assert f"slot {row[0]} stays on the primary" in caught.value.changed
        assert any(f"SELECT pg_drop_replication_slot('{row[0]}')" in hint.text for hint in caught.value.hints)
        connection.execute("SELECT pg_drop_replication_slot(%s)", row)


def test_an_export_starts_by_itself_once_each_tablespace_has_a_directory(production: Production, major: int) -> None:
    """Without one it is refused before anything is written, with the option spelt."""
    into = production.root / "exported"
    with pytest.raises(errors.Refused) as caught:
        production.prepare("exported", to="immediate", purpose=Purpose.EXPORT)
    assert caught.value.spec is errors.RC002
    assert any("--tablespace fast=DIR" in hint.text for hint in caught.value.hints)
    assert not into.exists()

    place = f"fast={production.root / 'moved'}"
    production.carry_out("exported", to="immediate", purpose=Purpose.EXPORT, tablespaces=[place])

    cluster = adopt_cluster(into, find_binaries(major))
    start(cluster)
    try:
        with connect(cluster.url()) as connection:
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (1000,)
    finally:
        remove_cluster(cluster)


def test_a_dry_run_looks_at_the_directories_and_claims_none(production: Production) -> None:
    """RC002 as the first step would say it; of what is there nothing is touched, and nothing is made."""
    full = production.root / "full"
    full.mkdir()
    (full / "note").write_text("mine")

    with pytest.raises(errors.Refused, match=r"note in .*full"):
        production.prepare("dry", tablespaces=[f"fast={full}"]).admit()
    with pytest.raises(errors.Refused, match=r"files in .*full"):
        production.prepare("full", is_delta=True).admit()
    with pytest.raises(errors.Refused, match="running server"):
        production.prepare(production.cluster.data.name, is_delta=True).admit()
    production.prepare("dry", tablespaces=[f"fast={production.root / 'absent'}"]).admit()

    assert [entry.name for entry in full.iterdir()] == ["note"]
    assert not (production.root / "dry").exists()
    assert not (production.root / "absent").exists()
