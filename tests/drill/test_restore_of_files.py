"""A backup that read the data directory, restored by the restore itself: proofs, tablespace and damage included."""

from __future__ import annotations

from pathlib import Path

import pytest

from backups import (
    flushed,
    new_repository,
    receiving,
    restored,
    take_backup,
    wait_until,
)
from restoring import durable
from safepoint.backup.sources.choice import Choice
from safepoint.model.backup import BackupSource
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.connect import connect


@pytest.mark.pg("18")
def test_a_backup_of_files_is_restored_and_proven(server: Cluster, server_root: Path) -> None:
    """`pg_verifybackup` passes on the manifest that the restore makes; a tablespace stands where it can."""
    repository = new_repository(server_root)
    elsewhere = server_root / "elsewhere"
    server.user.make_directory(elsewhere)
    with connect(server.url()) as connection:
        connection.execute(f"CREATE TABLESPACE fast LOCATION '{elsewhere}'".encode())
        connection.execute("CREATE TABLE t TABLESPACE fast AS SELECT generate_series(1, 1000) AS id")
        choice = Choice(source=BackupSource.FILES, reason="a test", data=server.data)
        with receiving(server.url(), repository):
            backup = take_backup(server.url(), repository, choice=choice)
            connection.execute("SET synchronous_commit = on")
            connection.execute("INSERT INTO t VALUES (1001)")
            end = flushed(connection)
            wait_until(lambda: durable(repository, backup) >= end)

    with restored(repository, backup, server_root / "copy", "latest") as copy:
        assert copy.execute("SELECT count(*) FROM t").fetchone() == (1001,)
    assert [space.name for space in backup.tablespaces] == ["fast"]
