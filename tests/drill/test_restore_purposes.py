"""What is no ordinary copy: a standby that follows production, a directory for PostgreSQL's own tools, a delta."""

from __future__ import annotations

import subprocess
from collections.abc import Generator

import pytest

import servers
from asking import notes
from backups import (
    DATABASE,
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
from safepoint.postgres.control import read_control
from safepoint.recovery.directory import MARKER
from safepoint.recovery.options import Purpose
from safepoint.steps.execute import Silence
from safepoint.workflows.restore import Source, Wish, prepare

pytestmark = pytest.mark.pg("!= 16, != 17")


@pytest.fixture(scope="module")
def production(major: int) -> Generator[Production]:
    """One note is in the backup, one in the WAL held, one nowhere but on the primary."""
    with servers.server_directory() as root:
        repository = new_repository(root)
        with servers.serving(root, major, SETTINGS) as primary, connect(primary.url()) as connection:
            connection.execute("CREATE TABLE notes (id serial, note text)")
            connection.execute("INSERT INTO notes (note) VALUES ('in the backup')")
            with receiving(primary.url(), repository):
                backup = take_backup(primary.url(), repository)
                connection.execute("INSERT INTO notes (note) VALUES ('in the WAL')")
                end = flushed(connection)
                wait_until(lambda: durable(repository, backup) >= end)
            connection.execute("INSERT INTO notes (note) VALUES ('on the primary')")
            yield Production(root=root, cluster=primary, repository=repository, backup=backup)


def test_an_export_passes_pg_verifybackup_whole_and_starts_by_itself(production: Production, major: int) -> None:
    """With its WAL, production's configuration, no server started and nothing of ours left in it."""
    into = production.root / "exported"
    production.carry_out(into, to="immediate", purpose=Purpose.EXPORT)

    binaries = find_binaries(major)
    judged = subprocess.run([binaries.program("pg_verifybackup"), into], capture_output=True, text=True, check=False)
    assert (judged.returncode, judged.stderr) == (0, "")
    assert not (into / "postmaster.opts").exists()
    assert (into / "postgresql.conf").read_bytes() == (production.cluster.data / "postgresql.conf").read_bytes()
    cluster = adopt_cluster(into, binaries)
    start(cluster)
    try:
        with connect(cluster.url()) as connection:
            assert notes(connection) == ["in the backup"]
            row = connection.execute("SELECT pg_is_in_recovery(), timeline_id FROM pg_control_checkpoint()").fetchone()
            assert row == (False, 1)
    finally:
        remove_cluster(cluster)


@EIGHTEEN
def test_an_export_is_of_a_backups_end(production: Production) -> None:
    """RC005 for a target that a server would have to replay to."""
    with pytest.raises(errors.Misconfigured, match="expected `immediate`") as caught:
        production.carry_out(production.root / "wrong", to="latest", purpose=Purpose.EXPORT)

    assert caught.value.spec is errors.RC005


def test_a_standby_catches_up_by_wal_and_then_streams(production: Production, major: int) -> None:
    """With what the repository never held, kept by a slot of its own, and in recovery."""
    into = production.root / "standby"
    run = production.carry_out(into, to="latest", purpose=Purpose.STANDBY)

    with connected(into, major) as connection, connect(production.cluster.url()) as primary:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        primary.execute("INSERT INTO notes (note) VALUES ('streamed')")
        wait_until(lambda: notes(connection)[-1] == "streamed")
        assert notes(connection)[:3] == ["in the backup", "in the WAL", "on the primary"]
        slot = run.outcomes["slot"]["slot"]
        assert primary.execute("SELECT slot_name FROM pg_replication_slots WHERE active").fetchall() == [(slot,)]
        assert not (into / MARKER).exists()
        assert connection.execute("SELECT current_setting('safepoint.copy_of', true)").fetchone() == (None,)
        connection.close()
        stop(adopt_cluster(into, find_binaries(major)))
        primary.execute("SELECT pg_drop_replication_slot(%s)", [slot])


@EIGHTEEN
def test_a_standby_of_another_cluster_is_refused(production: Production) -> None:
    """WL001, and no slot is made there."""
    with servers.serving(production.root, 18) as other, connect(other.url()) as connection:
        source = Source(repository=production.repository, database=DATABASE, primary=other.url())
        with pytest.raises(errors.Refused) as caught:
            prepare(source, Wish(purpose=Purpose.STANDBY), production.root / "stranger").execute(Silence())

        assert caught.value.spec is errors.WL001
        assert connection.execute("SELECT count(*) FROM pg_replication_slots").fetchone() == (0,)


def test_a_copy_says_whose_it_is_and_is_brought_up_to_date_by_a_delta(production: Production, major: int) -> None:
    """The second restore fetches little, and what the copy wrote meanwhile is gone."""
    into = production.root / "copy"
    production.carry_out(into, to="immediate")
    with connect(adopt_cluster(into, find_binaries(major)).url()) as connection:
        connection.execute("INSERT INTO notes (note) VALUES ('by the copy')")
        connection.execute("CHECKPOINT")
        row = connection.execute("SHOW safepoint.copy_of").fetchone()
    assert row == (production.backup.id,)
    with pytest.raises(errors.Refused, match="running server"):
        production.carry_out(into, to="latest", is_delta=True)
    stop(adopt_cluster(into, find_binaries(major)))

    run = production.carry_out(into, to="latest", is_delta=True)

    assert int(str(run.outcomes["write"]["fetched_bytes"])) < production.backup.raw_bytes // 2
    assert read_control(find_binaries(major), into).has_checksums
    with connected(into, major) as connection:
        assert notes(connection)[:2] == ["in the backup", "in the WAL"]
        assert "by the copy" not in notes(connection)
