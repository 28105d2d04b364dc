"""The socket between helper and pusher: who may use it, where it is, and what counts as an answer."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

import archiving
from archiving import Watcher, pushing
from repository_samples import make_repository
from safepoint import errors
from safepoint.backup.archive.archive import WalArchive
from safepoint.backup.archive.data_directory import DataDirectory
from safepoint.backup.archive.pusher import Pusher
from safepoint.backup.archive.wire import SOCKET_VARIABLE, socket_path
from safepoint.repository import Repository
from safepoint.stores import MemoryStore
from wal_files import make_data_directory, put_ready, segment, segment_bytes

FIVE = segment(5)


@pytest.fixture
def directory() -> Generator[Path]:
    with archiving.private_directory() as path:
        yield path


@pytest.fixture
def data(directory: Path) -> DataDirectory:
    return make_data_directory(directory / "data")


@pytest.fixture
def repository() -> Repository:
    return make_repository(MemoryStore(), None)


@pytest.mark.parametrize("make_helper", [archiving.c_helper, archiving.python_helper], ids=["c", "python"])
@pytest.mark.parametrize("said", [b"", b"wait\n", b"o", b"ok", b"no", b"what\n", b"ok\nno\n", b"wait\nwait\nno\nwhy\n"])
def test_nothing_but_a_whole_ok_is_success(directory: Path, make_helper: object, said: bytes) -> None:
    """A pusher that dies in the midst of its answer has acknowledged nothing."""
    data = make_data_directory(directory / "data")
    put_ready(data, FIVE.name, segment_bytes(FIVE))
    program = make_helper(directory)  # type: ignore[operator]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "s"))
        listener.listen()
        command = [program, "push", f"pg_wal/{FIVE.name}", "--socket", str(directory / "s")]
        helper = subprocess.Popen(command, cwd=data.path, stderr=subprocess.PIPE)
        connection, _ = listener.accept()
        request, descriptors, _, _ = socket.recv_fds(connection, 512, 1)
        connection.sendall(said)
        connection.close()
        _, talk = helper.communicate(timeout=30)

    os.close(descriptors[0])
    assert request == f"1 push {FIVE.name}\n".encode()
    assert helper.returncode == 1
    assert (b"why" if b"why" in said else b"safepoint-wal") in talk


def test_one_pusher_serves_a_directory(data: DataDirectory, directory: Path, repository: Repository) -> None:
    """A second one is refused; the socket of one that was killed is in nobody's way."""
    archive = WalArchive(data=data, origin=data.origin(), repositories=(repository,))
    (directory / "s").touch()
    with pushing(data, directory / "s", repository), pytest.raises(errors.Refused, match="WL010"):
        Pusher(archive=archive, path=directory / "s", observer=Watcher()).run()


def test_the_socket_is_this_users_alone(data: DataDirectory, directory: Path, repository: Repository) -> None:
    """Others may neither connect nor look."""
    with pushing(data, directory / "inner/s", repository):
        assert (directory / "inner/s").stat().st_mode & 0o777 == 0o600
        assert (directory / "inner").stat().st_mode & 0o777 == 0o700


def test_the_place_of_the_socket_follows_the_directory_and_not_its_name(
    directory: Path, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link leads to the same socket, a copy has another; whoever names one is obeyed."""
    (directory / "link").symlink_to(data.path)
    copy = make_data_directory(directory / "copy")
    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)

    assert socket_path(data.path) == socket_path(directory / "link")
    assert socket_path(data.path) != socket_path(copy.path)
    assert socket_path(data.path, "/run/x") == Path("/run/x")
    monkeypatch.setenv(SOCKET_VARIABLE, "/run/y")
    assert socket_path(data.path) == Path("/run/y")


def test_both_helpers_find_the_same_socket(
    directory: Path, data: DataDirectory, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By state, XDG and home, without being told."""
    put_ready(data, FIVE.name, segment_bytes(FIVE))
    places = [{"SAFEPOINT_STATE": "a"}, {"XDG_STATE_HOME": "b"}, {"HOME": "c"}]
    for name in (SOCKET_VARIABLE, "SAFEPOINT_STATE", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    programs = [archiving.c_helper(directory), archiving.python_helper(directory)]
    for place in places:
        with monkeypatch.context() as environment:
            for name, value in place.items():
                environment.setenv(name, str(directory / value))
            with pushing(data, socket_path(data.path), repository):
                for program in programs:
                    answer = subprocess.run([program, "push", f"pg_wal/{FIVE.name}"], cwd=data.path, check=False)
                    assert answer.returncode == 0
