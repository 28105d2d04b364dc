"""archive_command on real servers: nothing is acknowledged that the repository does not hold, whatever breaks."""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

import archiving
from archiving import archive_by, pushing, switch, wait_until, waiting
from safepoint.backup.coverage import spans_of
from safepoint.model.lsn import TimelineId
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.connect import connect
from safepoint.repository import Repository

EIGHTEEN = pytest.mark.pg("18")
HELPERS: list[Callable[[Path], Path]] = [archiving.c_helper, archiving.python_helper]


@pytest.fixture(scope="module")
def place(major: int) -> Generator[tuple[Path, Cluster]]:
    """A directory and a server in it that archives, for all tests of this module; its command fails in between."""
    with archiving.private_directory() as directory, archiving.archiving_server(directory, major) as cluster:
        yield directory, cluster


@pytest.fixture
def directory(place: tuple[Path, Cluster]) -> Path:
    return place[0]


@pytest.fixture
def cluster(place: tuple[Path, Cluster]) -> Cluster:
    return place[1]


@pytest.fixture
def connection(cluster: Cluster) -> Generator[Connection[Any]]:
    with connect(cluster.url()) as found:
        yield found


@pytest.fixture
def repository(directory: Path, connection: Connection[Any]) -> Generator[Repository]:
    """A fresh one; afterwards nothing waits that another test would archive."""
    number = sum(1 for _ in directory.glob("repository-*"))
    yield archiving.new_repository(directory, f"repository-{number}")
    archive_by(connection, "true")
    wait_until(lambda: not archiving.DataDirectory(path=Path(str(_data(connection)))).ready())
    archive_by(connection, "false")


def _data(connection: Connection[Any]) -> str:
    row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    return str(row[0])


def held(repository: Repository, cluster: Cluster) -> list[str]:
    """The names of the complete segments in the repository, as the server calls them."""
    return [
        Path(piece.name).name.partition(".")[0]
        for piece in repository.wal_pieces(identifier(cluster))
        if not piece.is_partial
    ]


def identifier(cluster: Cluster) -> str:
    return archiving.DataDirectory(path=cluster.data).origin().cluster


@pytest.mark.parametrize("make_helper", HELPERS, ids=["c", "python"])
def test_segments_are_archived_and_what_is_held_is_what_the_server_wrote(
    directory: Path,
    cluster: Cluster,
    connection: Connection[Any],
    repository: Repository,
    make_helper: Callable[[Path], Path],
) -> None:
    """Twenty segments, by either helper; byte for byte, without a hole."""
    helper, socket = make_helper(directory), directory / "s"
    switch(connection, 20)
    names = [name for name in waiting(cluster) if len(name) == 24]

    with pushing(cluster, socket, repository) as watcher:
        archive_by(connection, f"{helper} push %p --socket {socket}")
        archiving.wait_until_archived(cluster)

    assert set(names) <= set(watcher.names)
    assert len(names) >= 20
    assert held(repository, cluster) == names
    assert len(spans_of(repository.wal_pieces(identifier(cluster)))[TimelineId(1)]) == 1
    for piece in repository.wal_pieces(identifier(cluster)):
        name = Path(piece.name).name.partition(".")[0]
        assert repository.read_wal(piece) == (cluster.data / "pg_wal" / name).read_bytes()


@EIGHTEEN
def test_a_damaged_file_in_pg_wal_is_not_acknowledged(
    directory: Path, cluster: Cluster, connection: Connection[Any], repository: Repository
) -> None:
    """The archiver stops at it and says why; once it is mended, archiving goes on where it stood."""
    helper, socket = archiving.c_helper(directory), directory / "s"
    switch(connection, 2)
    name = next(name for name in waiting(cluster) if len(name) == 24)
    path = cluster.data / "pg_wal" / name
    content = path.read_bytes()
    path.write_bytes(struct.pack("<H", 0xD110) + content[2:])
    with pushing(cluster, socket, repository) as watcher:
        archive_by(connection, f"{helper} push %p --socket {socket}")
        wait_until(lambda: "WL001" in watcher.codes)
        path.write_bytes(content[:8192] + b"\xff" * 8 + content[8200:])
        archive_by(connection, f"{helper}  push %p --socket {socket}")
        wait_until(lambda: "WL007" in watcher.codes)
        assert name in waiting(cluster)
        assert name not in held(repository, cluster)
        path.write_bytes(content)
        archive_by(connection, f"{helper} push %p --socket {socket} ")
        wait_until(lambda: name in held(repository, cluster) and name not in waiting(cluster))
    assert "error WL007" in cluster.log.read_text()


@EIGHTEEN
def test_an_outage_of_the_store_keeps_every_file_in_pg_wal(
    directory: Path, cluster: Cluster, connection: Connection[Any], repository: Repository
) -> None:
    """The folder is gone for a while, as a disk that is not mounted."""
    helper, socket = archiving.c_helper(directory), directory / "s"
    folder = Path(str(repository.store).removeprefix("file:"))
    with pushing(cluster, socket, repository) as watcher:
        archive_by(connection, f"{helper} push %p --socket {socket}")
        switch(connection, 1)
        archiving.wait_until_archived(cluster)
        folder.rename(directory / "away")
        folder.mkdir()
        switch(connection, 2)
        wait_until(lambda: "ST001" in watcher.codes)
        assert len(waiting(cluster)) >= 2
        folder.rmdir()
        (directory / "away").rename(folder)
        archive_by(connection, f"{helper} push %p --socket {socket} ")
        archiving.wait_until_archived(cluster)

    assert len(spans_of(repository.wal_pieces(identifier(cluster)))[TimelineId(1)]) == 1


@EIGHTEEN
def test_without_a_pusher_the_work_is_done_inline(
    directory: Path, cluster: Cluster, connection: Connection[Any], repository: Repository
) -> None:
    """The helper becomes `safepoint wal push`: slower, with the same checks."""
    folder = Path(str(repository.store).removeprefix("file:"))
    config = directory / "safepoint.toml"
    config.write_text(
        f'[database.shop]\nurl = "postgresql:///postgres"\n[repository.main]\nurl = "file:{folder}"\nkey = "none"\n'
    )
    for number, helper in enumerate((archiving.c_helper(directory), archiving.python_helper(directory)), 1):
        switch(connection)
        archive_by(connection, f"{helper} push %p --socket {directory}/nobody --config {config}")
        archiving.wait_until_archived(cluster)
        assert len(held(repository, cluster)) >= number


@EIGHTEEN
def test_the_printed_command_is_what_the_server_needs(
    directory: Path, cluster: Cluster, connection: Connection[Any], repository: Repository
) -> None:
    """One line for postgresql.conf, with paths that hold from the data directory."""
    from safepoint.workflows.archive import archive_command  # noqa: PLC0415 - this test alone
    from safepoint.workflows.project import load_project  # noqa: PLC0415

    config = directory / "100% mine.toml"
    config.write_text(
        '[database.shop]\nurl = "postgresql:///postgres"\n[repository.main]\nurl = "file:r"\nkey = "none"\n'
    )
    line = archive_command(load_project(config), None, data=cluster.data, socket=str(directory / "s"), config=None)

    name, _, command = line.strip().partition(" = ")
    assert name == "archive_command"
    assert f"push %p --socket {directory}/s --database shop --config" in command
    assert "100%% mine.toml" in command
