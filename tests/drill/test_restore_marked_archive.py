"""Instants between archived commits: the pusher asks the server what time it is, so that they are proven."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg import Connection

import archiving
from archiving import Watcher, archive_by, switch
from backups import (
    DATABASE,
    restored,
    take_backup,
    whole_coverage,
)
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.connect import connect
from safepoint.workflows.archive import prepare_archive
from safepoint.workflows.project import load_project


@contextmanager
def pusher_of_workflow(directory: Path, cluster: Cluster) -> Generator[None]:
    """`safepoint wal archive` as the command line starts it, without its process."""
    config = directory / "safepoint.toml"
    config.write_text(
        f'[database.{DATABASE}]\nurl = "{cluster.url().reveal()}"\n'
        f'[repository.main]\nurl = "file:{directory}/repository"\nkey = "none"\n'
    )
    stop = threading.Event()
    job = prepare_archive(
        load_project(config), DATABASE, data=cluster.data, socket=str(directory / "s"), stop=stop, observer=Watcher()
    )
    thread = threading.Thread(target=job.run)
    thread.start()
    try:
        archiving.wait_until((directory / "s").is_socket)
        yield
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()


def clock_of(connection: Connection[Any]) -> datetime:
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return row[0]


def test_an_instant_between_two_archived_commits_is_restored(major: int) -> None:
    """Seconds after the pusher began, and with every mark in WAL that is held as far as its position."""
    with archiving.private_directory() as directory, archiving.archiving_server(directory, major) as cluster:
        repository, helper = archiving.new_repository(directory), archiving.c_helper(directory)
        with connect(cluster.url()) as connection, pusher_of_workflow(directory, cluster):
            archive_by(connection, f"{helper} push %p --socket {directory}/s")
            connection.execute("CREATE TABLE orders AS SELECT 1 AS number")
            backup = take_backup(cluster.url(), repository)
            connection.execute("INSERT INTO orders VALUES (2)")
            between = clock_of(connection)
            time.sleep(2.5)
            connection.execute("INSERT INTO orders VALUES (3)")
            switch(connection)
            archiving.wait_until_archived(cluster)
        again = archiving.reopened(directory)
        pieces = again.wal_pieces(backup.system_identifier)
        marks = [(piece, mark) for piece in pieces if (mark := again.read_mark(piece)) is not None]
        (interval,) = whole_coverage(again, backup.system_identifier).intervals

        assert marks
        assert all(mark.lsn <= piece.end for piece, mark in marks)
        assert interval.latest is not None
        assert interval.latest >= between
        with restored(again, backup, directory / "copy", between.isoformat()) as copy:
            assert copy.execute("SELECT number FROM orders ORDER BY number").fetchall() == [(1,), (2,)]
