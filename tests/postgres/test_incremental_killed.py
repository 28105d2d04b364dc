"""`kill -9` of an incremental backup, and of the server below any: nothing half is kept, and the next one is whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

import servers
from backups import copy_watched, wait_until
from incremental_work import differences, execute, new_repository, summarized_cluster, take
from plain_copies import connected_copy
from safepoint import errors
from safepoint.backup.sources.choice import Choice
from safepoint.backup.verify import verify_backup
from safepoint.model.backup import BackupSource, Detection
from safepoint.postgres.cluster import Cluster, start
from safepoint.postgres.connect import connect
from safepoint.steps.execute import Progress

BOTH = pytest.mark.parametrize("source", list(BackupSource), ids=lambda source: source.value)

pytestmark = pytest.mark.pg("18")


@pytest.fixture(scope="module")
def changing() -> Generator[Cluster]:
    """A server that summarizes WAL, with a table that is easily changed."""
    with servers.server_directory() as root, summarized_cluster(root, 18) as cluster:
        execute(
            cluster,
            "CREATE TABLE large AS "
            "SELECT g AS id, md5(g::text) || repeat('l', 300) AS t FROM generate_series(1, 60000) g",
            "VACUUM (FREEZE) large",
        )
        yield cluster


def change(cluster: Cluster) -> None:
    """About a tenth of the table's pages."""
    execute(cluster, "UPDATE large SET t = reverse(t) WHERE id % 230 = 0", "CHECKPOINT")


@BOTH
@pytest.mark.parametrize("moment", ["changing", "end", "commit"])
def test_a_killed_incremental_backup_is_none_and_the_next_one_is_right(
    changing: Cluster, server_root: Path, source: BackupSource, moment: str
) -> None:
    """Built upon the same parent, by summaries, and equal to the files on disk."""
    repository = new_repository(server_root)
    parent = take(changing, repository, source)
    change(changing)
    script = Path(__file__).parent / "back_up_incrementally_and_die.py"
    arguments = [changing.url().reveal(), str(changing.data), str(server_root), source.value, moment]

    environment = {**os.environ, "PYTHONPATH": str(script.parent.parent)}
    process = subprocess.run([sys.executable, str(script), *arguments], env=environment, check=False)

    assert process.returncode == -signal.SIGKILL
    assert [backup.id for backup in repository.backups()] == [parent.id]
    wait_until(lambda: slots(changing) == 0)
    backup = take(changing, repository, source)
    assert (backup.detection, backup.detection_reason) == (Detection.SUMMARIES, "")
    assert differences(repository, backup, changing) == []
    verify_backup(repository, backup)


def slots(cluster: Cluster) -> int:
    with connect(cluster.url()) as connection:
        row = connection.execute("SELECT count(*) FROM pg_replication_slots").fetchone()
    assert row is not None
    return int(row[0])


@BOTH
@pytest.mark.parametrize("is_incremental", [False, True], ids=["full", "incremental"])
def test_a_server_killed_meanwhile_voids_the_backup(
    changing: Cluster, server_root: Path, source: BackupSource, *, is_incremental: bool
) -> None:
    """`kill -9` of the postmaster: nothing is listed; recovered from its crash the server is backed up as it is."""
    repository = new_repository(server_root)
    older = [take(changing, repository, source).id] if is_incremental else []
    change(changing)
    killed: list[int] = []

    def kill(_: Progress) -> None:
        if not killed:
            killed.append(kill_server(changing))

    choice = Choice(source=source, reason="a test", data=changing.data)
    with pytest.raises(errors.SafepointError) as caught:
        copy_watched(changing.url(), repository, choice, kill)
    wait_until(lambda: starts(changing))

    assert killed
    assert caught.value.spec in {errors.BK001, errors.WL005, errors.PG004}
    assert [backup.id for backup in repository.backups()] == older
    backup = take(changing, repository, source)
    verify_backup(repository, backup)
    with connected_copy(repository, backup, server_root / "copy") as copy:
        assert copy.execute("SELECT count(*) FROM large").fetchone() == (60000,)


def kill_server(cluster: Cluster) -> int:
    """The postmaster is gone without a word; its children follow."""
    process = int((cluster.data / "postmaster.pid").read_text().split()[0])
    os.kill(process, signal.SIGKILL)
    return process


def starts(cluster: Cluster) -> bool:
    """Whether it does yet: its children hold shared memory until they notice its death."""
    with suppress(errors.Unreachable):
        start(cluster)
        return True
    return False
