"""A restore from WAL that came by archive_command alone: no receiver ever ran, no slot was ever made."""

from __future__ import annotations

import pytest

import archiving
from archiving import archive_by, pushing, switch
from backups import (
    restored,
    take_backup,
)
from safepoint.postgres.connect import connect


@pytest.mark.pg("18")
def test_the_latest_instant_is_restored_from_archived_wal(major: int) -> None:
    """Everything committed before the last segment that was archived."""
    with archiving.private_directory() as directory, archiving.archiving_server(directory, major) as cluster:
        repository, helper = archiving.new_repository(directory), archiving.c_helper(directory)
        with connect(cluster.url()) as connection, pushing(cluster, directory / "s", repository):
            archive_by(connection, f"{helper} push %p --socket {directory}/s")
            connection.execute("CREATE TABLE orders AS SELECT g FROM generate_series(1, 1000) g")
            backup = take_backup(cluster.url(), repository)
            for _ in range(3):
                connection.execute("INSERT INTO orders SELECT g FROM generate_series(1, 1000) g")
                switch(connection)
            archiving.wait_until_archived(cluster)
            connection.execute("INSERT INTO orders VALUES (0)")
        with restored(repository, backup, directory / "copy", "latest") as copy:
            row = copy.execute("SELECT count(*), count(*) FILTER (WHERE g = 0) FROM orders").fetchone()
            slots = copy.execute("SELECT count(*) FROM pg_replication_slots").fetchone()

    assert row == (4000, 0)
    assert slots == (0,)
