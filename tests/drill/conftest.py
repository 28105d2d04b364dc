"""The primary that restores begin from, made once for all of them."""

from __future__ import annotations

import time
from collections.abc import Generator

import pytest

import servers
from backups import (
    flushed,
    new_repository,
    receiving,
    server_clock,
    take_backup,
    wait_until,
)
from restoring import SETTINGS, Scene, durable, is_marked, recorded_commits, traffic
from safepoint.postgres.connect import connect


@pytest.fixture(scope="session")
def scene(major: int) -> Generator[Scene]:
    """One primary of the major, backed up amid writers that commit as fast as they can."""
    with servers.server_directory() as root:
        repository = new_repository(root)
        with servers.serving(root, major, SETTINGS) as primary:
            with connect(primary.url()) as connection:
                connection.execute("CREATE TABLE rows (id int PRIMARY KEY, filler text)")
            with receiving(primary.url(), repository), traffic(primary):
                time.sleep(0.5)
                backup = take_backup(primary.url(), repository)
                time.sleep(2)
            with receiving(primary.url(), repository), connect(primary.url()) as connection:
                connection.execute("SELECT pg_switch_wal()")
                connection.execute("CREATE TABLE in_another_segment ()")
                commits = recorded_commits(connection, primary)
                end = flushed(connection)
                shown_at = server_clock(connection)
                wait_until(lambda: durable(repository, backup) >= end)
                wait_until(lambda: is_marked(repository, backup, shown_at))
        yield Scene(root=root, backup=backup, commits=commits, end=end)
