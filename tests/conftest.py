"""Fixtures and markers that every folder of tests shares."""

from __future__ import annotations

import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import object_servers
import servers
from object_servers import ObjectServer
from programs import find_program, install_command
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.url import DatabaseUrl

# A job in the background begins with SIGINT ignored, and so would every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on what else the machine does; a test that hangs is ended by pytest's timeout.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs whatever uses `major` (or a server) once for each major at hand that its `pg` marks allow."""
    if "major" not in metafunc.fixturenames:
        return
    conditions = [mark.args[0] for mark in metafunc.definition.iter_markers("pg")]
    wanted = [
        major for major in servers.TESTED_MAJORS if all(servers.is_wanted(major, condition) for condition in conditions)
    ]
    at_hand = [major for major in wanted if major in servers.majors_at_hand()]
    parameters = at_hand or [_missing(wanted)]
    metafunc.parametrize("major", parameters, ids=lambda major: f"pg{major}", scope="session")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test that `needs` a program this machine lacks, with the command that installs it."""
    for mark in item.iter_markers("needs"):
        for program in mark.args:
            if find_program(program) is None:
                pytest.skip(f"{program} is not installed; enable with: {install_command(program)}")


@pytest.fixture(scope="session", autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """What this process keeps of repositories goes into a folder of the tests, never into the home of who runs them."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("SAFEPOINT_STATE", raising=False)
        for variable in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
            environment.setenv(variable, str(tmp_path_factory.mktemp(variable.lower())))
        yield


def _missing(majors: list[int]) -> object:
    names = " or ".join(map(str, majors)) or "such a major"
    command = f"apt-get install -y postgresql-{majors[0]}" if majors else "change the mark's condition"
    reason = f"no PostgreSQL {names} on this machine; enable with: {command}, or pip install 'safepoint[embedded]'"
    return pytest.param(0, marks=pytest.mark.skip(reason=reason), id="pg-missing")


@pytest.fixture
def server_root() -> Generator[Path]:
    """A fresh directory that a server's user can enter."""
    with servers.server_directory() as path:
        yield path


@pytest.fixture
def server(server_root: Path, major: int) -> Generator[Cluster]:
    """A running server of this test's own, for tests that stop, break or reconfigure it."""
    with servers.serving(server_root, major) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def shared_server(major: int) -> Generator[Cluster]:
    """A running server that all tests of a major share: leave it as it was."""
    with servers.server_directory() as path, servers.serving(path, major) as cluster:
        yield cluster


@pytest.fixture
def database(shared_server: Cluster) -> Generator[DatabaseUrl]:
    """A fresh database on the shared server, dropped after the test."""
    with servers.fresh_database(shared_server) as url:
        yield url


@pytest.fixture(scope="session")
def s3_server() -> Generator[ObjectServer]:
    """A real server that speaks S3."""
    require_server("weed")
    with object_servers.seaweedfs() as server:
        yield server


@pytest.fixture(scope="session")
def azure_server() -> Generator[ObjectServer]:
    """An emulator of Azure Blob Storage."""
    require_server("azurite-blob")
    with object_servers.azurite() as server:
        yield server


def require_server(program: str) -> None:
    """Skips with the command that installs the program, where it is not at hand."""
    if object_servers.find_server(program) is None:
        pytest.skip(f"{program} is not installed; enable with: {object_servers.INSTALLS[program]}")
