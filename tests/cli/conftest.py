"""Projects for tests of the command line."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

import servers
from projects import Project, back_up, initialised, make_project, stream_once, verify
from safepoint.postgres.cluster import Cluster


@pytest.fixture(scope="session")
def project(major: int) -> Generator[Project]:
    """Backed up, verified, streamed: for tests that leave it as it was."""
    with servers.server_directory() as root, servers.serving(root, major) as cluster:
        project = initialised(make_project(root, cluster))
        back_up(project)
        verify(project)
        stream_once(project)
        for verb in ("check", "verify"):
            project.shell.safepoint("repository", verb)
        yield project


@pytest.fixture
def fresh(server_root: Path, server: Cluster) -> Project:
    """A project of the test's own, not yet known to safepoint."""
    return make_project(server_root, server)


@pytest.fixture
def own(fresh: Project) -> Project:
    """A project of the test's own, with a repository and one migration applied."""
    return initialised(fresh)
