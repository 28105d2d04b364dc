"""A failover, and the old primary brought back by pg_rewind: backups and WAL go on, and any instant is restored."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

import servers
from asking import brought_back, notes
from backups import (
    flushed,
    new_repository,
    receiving,
    take_backup,
    wait_until,
)
from safepoint.backup.coverage import coverage_of
from safepoint.backup.sources.choice import Choice
from safepoint.model.backup import BackupManifest, BackupSource
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.cluster import Cluster, adopt_cluster, promote, remove_cluster, start, stop
from safepoint.postgres.connect import connect
from safepoint.postgres.programs import run_program
from safepoint.repository import Repository

ONE, TWO = TimelineId(1), TimelineId(2)


@contextmanager
def standby_of(primary: Cluster, directory: Path) -> Generator[Cluster]:
    """A streaming standby, gone after the context."""
    standby = servers.standby_of(primary, directory / "standby")
    try:
        yield standby
    finally:
        remove_cluster(standby)


@contextmanager
def rewound(old: Cluster, primary: Cluster) -> Generator[Cluster]:
    """The old primary as a standby of the new one; pg_rewind brings the new one's configuration with the rest."""
    program = old.binaries.program("pg_rewind")
    source = f"--source-server={primary.url().conninfo()} dbname=postgres"
    run_program(old.user, [program, "-D", old.data, "-R", source])
    cluster = adopt_cluster(old.data, old.binaries)
    start(cluster)
    try:
        yield cluster
    finally:
        remove_cluster(cluster)


def write(cluster: Cluster, note: str) -> Lsn:
    """A note; how far WAL is flushed with it."""
    with connect(cluster.url()) as connection:
        connection.execute("SET synchronous_commit = on")
        connection.execute("INSERT INTO notes (note) VALUES (%s)", [note])
        return flushed(connection)


def back_up(cluster: Cluster, repository: Repository, source: BackupSource) -> BackupManifest:
    choice = Choice(source=source, reason="a test", data=cluster.data)
    return take_backup(cluster.url(), repository, choice=choice)


def held(repository: Repository, backup: BackupManifest, timeline: TimelineId) -> Lsn:
    pieces = repository.wal_pieces(backup.system_identifier)
    return max((piece.end for piece in pieces if piece.timeline == timeline), default=Lsn(0))


@pytest.mark.pg("!= 16, != 17")
def test_a_failover_and_a_rewound_primary_leave_every_instant_restorable(
    server: Cluster, server_root: Path, major: int
) -> None:
    """Before the failover, after it and after the return; what the old primary wrote alone is in none of them."""
    repository = new_repository(server_root)
    with connect(server.url()) as connection:
        connection.execute("ALTER SYSTEM SET wal_keep_size = '1GB'")
        connection.execute("ALTER SYSTEM SET full_page_writes = on")  # pg_rewind asks for it
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CREATE TABLE notes (id serial, note text)")
    with standby_of(server, server_root) as standby:
        with receiving(server.url(), repository, replicas=(standby.url(),)):
            first = back_up(server, repository, BackupSource.FILES)
            before = write(server, "before")
            wait_until(lambda: held(repository, first, ONE) >= before)
            wait_until(lambda: has_replayed(standby, before))
            stop(server, mode="immediate")
            promote(standby)
            between = write(standby, "between")
            wait_until(lambda: held(repository, first, TWO) >= between)
            second = back_up(standby, repository, BackupSource.STREAM)
        start(server)
        write(server, "alone")
        stop(server)

        with (
            rewound(server, standby) as returned,
            receiving(standby.url(), repository, replicas=(returned.url(),)),
        ):
            after = write(standby, "after")
            wait_until(lambda: has_replayed(returned, after))
            third = [back_up(returned, repository, source) for source in BackupSource]
            last = write(standby, "last")
            wait_until(lambda: held(repository, first, TWO) >= last)

    backups = (first, second, *third)
    assert [backup.timeline for backup in backups] == [ONE, TWO, TWO, TWO]
    assert [backup.is_from_standby for backup in backups] == [False, False, True, True]
    history = repository.read_history(first.system_identifier, TWO)
    assert history is not None
    coverage = coverage_of(backups, repository.wal_pieces(first.system_identifier), {}, {TWO: history})
    assert coverage.gaps == ()
    for name, to, timeline, expected in (
        ("before", str(before), "1", ["before"]),
        ("between", str(between), "2", ["before", "between"]),
        ("after", str(after), "2", ["before", "between", "after"]),
    ):
        with brought_back(repository, server_root / name, major, to=to, timeline=timeline) as connection:
            assert notes(connection) == expected


def has_replayed(standby: Cluster, lsn: Lsn) -> bool:
    with connect(standby.url()) as connection:
        row = connection.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [str(lsn)]).fetchone()
    return row is not None and bool(row[0])
