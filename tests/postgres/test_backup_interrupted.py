"""Backups that end in the middle: nothing is listed, and what was stored is found by the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

import servers
from backups import (
    copy_watched,
    new_repository,
    reopened,
    take_backup,
    wait_until,
)
from safepoint import errors
from safepoint.backup.sources.choice import BY_STREAM, Choice
from safepoint.backup.verify import verify_backup
from safepoint.model.backup import BackupSource
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.connect import connect
from safepoint.repository.commit.leases import open_leases
from safepoint.steps.execute import Progress

LARGE_BYTES = 40 * 1024 * 1024

pytestmark = pytest.mark.pg("18")


@pytest.fixture(scope="module")
def root() -> Generator[Path]:
    with servers.server_directory() as path:
        yield path


@pytest.fixture(scope="module")
def large(root: Path) -> Generator[Cluster]:
    """A server with a table that does not compress."""
    with servers.serving(root, 18) as cluster:
        with connect(cluster.url()) as connection:
            connection.execute("CREATE EXTENSION pg_trgm")
            connection.execute(
                "CREATE TABLE noise AS SELECT string_agg(md5(random()::text), '') AS t "
                "FROM generate_series(1, 1200000) g GROUP BY g / 60"
            )
            connection.execute("VACUUM (FREEZE) noise")
        yield cluster


def choices(cluster: Cluster) -> dict[str, Choice]:
    return {
        "files": Choice(source=BackupSource.FILES, reason="a test", data=cluster.data),
        "stream": BY_STREAM,
    }


@pytest.mark.parametrize("source", ["files", "stream"])
def test_what_an_interrupted_backup_stored_is_not_stored_again(large: Cluster, server_root: Path, source: str) -> None:
    """Ctrl-C at 60 %: no lease, no backup; the next one adds about what was missing."""
    repository = new_repository(server_root)
    choice = choices(large)[source]

    def interrupt(progress: Progress) -> None:
        assert progress.total is not None
        if progress.done > 0.6 * progress.total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_watched(large.url(), repository, choice, interrupt)
    assert repository.backups() == ()
    assert open_leases(repository.store, repository.keyring) == ()

    second = take_backup(large.url(), reopened(server_root), choice=choice)

    assert second.raw_bytes > LARGE_BYTES
    full = take_backup_elsewhere(large, server_root, choice)
    assert second.added_bytes < 0.5 * full
    verify_backup(repository, second)


def take_backup_elsewhere(cluster: Cluster, directory: Path, choice: Choice) -> int:
    """What a first backup adds to a repository of its own."""
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir()
    repository = new_repository(elsewhere)
    return take_backup(cluster.url(), repository, choice=choice).added_bytes


def test_a_session_that_is_lost_voids_the_backup(large: Cluster, server_root: Path) -> None:
    """BK001 says which session; no backup, and the server is out of backup mode: the next one works."""
    repository = new_repository(server_root)

    def kill_session(_: Progress) -> None:
        with connect(large.url()) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'safepoint' "
                "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )

    with pytest.raises(errors.Refused, match="session") as caught:
        copy_watched(large.url(), repository, choices(large)["files"], kill_session)

    assert caught.value.spec is errors.BK001
    assert repository.backups() == ()
    take_backup(large.url(), repository, choice=choices(large)["files"])


@pytest.mark.parametrize("moment", ["begin", "0.1", "0.5", "0.9", "end", "wal"])
def test_a_killed_backup_is_none_and_the_next_one_works(large: Cluster, server_root: Path, moment: str) -> None:
    """`kill -9` anywhere: nothing is listed, no slot is left, and the next backup verifies."""
    repository = new_repository(server_root)
    script = Path(__file__).parent / "back_up_files_and_die.py"
    arguments = [large.url().reveal(), str(large.data), str(server_root), moment]
    environment = {**os.environ, "PYTHONPATH": str(script.parent.parent)}
    process = subprocess.run([sys.executable, str(script), *arguments], env=environment, check=False)

    assert process.returncode == -signal.SIGKILL
    assert reopened(server_root).backups() == ()
    wait_until(lambda: slots(large) == 0)
    manifest = take_backup(large.url(), reopened(server_root), choice=choices(large)["files"])
    verify_backup(repository, manifest)


def slots(cluster: Cluster) -> int:
    with connect(cluster.url()) as connection:
        row = connection.execute("SELECT count(*) FROM pg_replication_slots").fetchone()
    assert row is not None
    return int(row[0])


def test_a_rate_limit_is_kept(large: Cluster, server_root: Path) -> None:
    """So many bytes a second, whichever the source, but for the first second's."""
    repository = new_repository(server_root)
    for choice in choices(large).values():
        began = time.monotonic()
        manifest = take_backup(large.url(), repository, choice=choice, rate_limit=LARGE_BYTES)
        assert time.monotonic() - began > manifest.raw_bytes / LARGE_BYTES - 1.1
