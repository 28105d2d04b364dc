"""Backups from a standby: complete without the primary's help, and void when the standby is promoted meanwhile."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

import servers
from backups import (
    actions_of,
    backup_plan,
    new_repository,
    reopened,
    take_backup,
    wait_until,
)
from plain_copies import connected_copy
from safepoint import errors
from safepoint.backup.durable import durable_up_to
from safepoint.backup.sources.choice import BY_STREAM, Choice
from safepoint.model.backup import BackupManifest, BackupSource
from safepoint.postgres.cluster import Cluster, promote, remove_cluster
from safepoint.postgres.connect import connect
from safepoint.steps.execute import Context, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Step

SOURCES = ("files", "stream")


@pytest.fixture(scope="module")
def root() -> Generator[Path]:
    with servers.server_directory() as path:
        yield path


@pytest.fixture(scope="module")
def primary(root: Path, major: int) -> Generator[Cluster]:
    with servers.serving(root, major, {"full_page_writes": "on"}) as cluster:
        with connect(cluster.url()) as connection:
            connection.execute("CREATE TABLE t AS SELECT generate_series(1, 10000) AS id")
        yield cluster


@pytest.fixture(scope="module")
def standby(primary: Cluster, root: Path) -> Generator[Cluster]:
    cluster = servers.standby_of(primary, root / f"standby-{primary.port}")
    try:
        yield cluster
    finally:
        remove_cluster(cluster)


def choice_of(cluster: Cluster, source: str) -> Choice:
    return BY_STREAM if source == "stream" else Choice(source=BackupSource.FILES, reason="a test", data=cluster.data)


def take(standby: Cluster, primary: Cluster, directory: Path, source: str) -> BackupManifest:
    return take_backup(standby.url(), reopened(directory), primary.url(), choice=choice_of(standby, source))


@pytest.mark.pg(">= 15")
@pytest.mark.parametrize("source", SOURCES)
def test_a_backup_of_a_standby_is_whole_while_the_primary_idles(
    primary: Cluster, standby: Cluster, server_root: Path, source: str
) -> None:
    """No segment is switched for it: the open one is stored as far as it goes, and the copy has all that was there."""
    repository = new_repository(server_root)
    with connect(primary.url()) as connection:
        connection.execute("INSERT INTO t SELECT generate_series(1, 100)")
        count = connection.execute("SELECT count(*) FROM t").fetchone()
    with connect(standby.url()) as connection:
        wait_until(lambda: connection.execute("SELECT count(*) FROM t").fetchone() == count)

    backup = take(standby, primary, server_root, source)

    assert (backup.is_from_standby, backup.source.value) == (True, source)
    assert backup.next_xid > 0
    durable = durable_up_to(repository, backup.system_identifier, backup.timeline, backup.start_lsn)
    assert durable >= backup.stop_lsn
    with connected_copy(repository, backup, server_root / "copy") as copy:
        assert copy.execute("SELECT count(*) FROM t").fetchone() == count


@pytest.mark.pg("18")
@pytest.mark.parametrize("source", SOURCES)
def test_a_promotion_meanwhile_voids_the_backup(primary: Cluster, server_root: Path, source: str) -> None:
    """The files would belong to two timelines: nothing is listed."""
    repository = new_repository(server_root)
    standby = servers.standby_of(primary, server_root / "promoted")

    def copy_then_promote(step: Step, context: Context) -> Any:
        def report(_: object) -> None:
            if not promoted:
                promoted.append(True)
                promote(standby)

        watched = Context(plan=plan, outcomes=context.outcomes, is_repeat=False, report=report)
        return inner["backup.copy"](step, watched)

    promoted: list[bool] = []
    plan = backup_plan(choice=choice_of(standby, source))
    try:
        with pytest.raises(errors.SafepointError) as caught, actions_of(standby.url(), repository) as inner:
            execute(plan, actions={**inner, "backup.copy": copy_then_promote}, journal=MemoryJournal())
    finally:
        remove_cluster(standby)

    assert promoted
    assert caught.value.spec in {errors.BK001, errors.WL005, errors.PG010}
    assert repository.backups() == ()
