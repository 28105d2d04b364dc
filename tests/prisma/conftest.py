"""Fixtures for tests that real Prisma judges; each skips with its reason where Prisma cannot be had."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

import servers
from judging import GENERATOR, TOOL, Prisma
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import Cluster, make_cluster, remove_cluster, start
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl


@pytest.fixture(scope="session")
def prisma_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The judge, with its packages; skips where either cannot be had."""
    if not TOOL.is_dir():
        pytest.skip("the prisma-judge folder is not beside this checkout; it is not part of the project")
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed; enable with: apt-get install -y npm")
    home = tmp_path_factory.mktemp("prisma")
    shutil.copytree(TOOL, home, dirs_exist_ok=True)
    command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False, timeout=240)
    if done.returncode:
        pytest.skip(
            f"npm could not install Prisma: {done.stderr.strip()[-200:]}; enable with: a reachable npm registry"
        )
    return home


@pytest.fixture
def prisma_of(prisma_home: Path, tmp_path: Path) -> Callable[[Path], Prisma]:
    """Prisma on a copy of a project's `prisma` folder, without generators, which need downloads."""

    def make(source: Path) -> Prisma:
        project = prisma_home / tmp_path.name / source.name
        shutil.copytree(source, project / "prisma")
        configuration = (prisma_home / "prisma.config.ts").read_text()
        # Else each command ends only when node-postgres lets its idle connections go, after ten seconds.
        exits_at_once = configuration.replace(
            "const cfg = {", "const cfg = { allowExitOnIdle: true, idleTimeoutMillis: 50,"
        )
        (project / "prisma.config.ts").write_text(exits_at_once)
        schema = project / "prisma" / "schema.prisma"
        schema.chmod(0o644)
        schema.write_text(GENERATOR.sub("", schema.read_text()))
        return Prisma(home=prisma_home, project=project)

    return make


@pytest.fixture(scope="session")
def tcp_server(major: int) -> Generator[tuple[Cluster, DatabaseUrl]]:
    """A server that Prisma can reach: over TCP, with a password."""
    with servers.server_directory() as directory:
        data = directory / f"pg{major}-prisma"
        cluster = make_cluster(data, find_binaries(major), settings=dict(servers.SMALL), sync=False, listen_tcp=True)
        try:
            start(cluster)
            with connect(cluster.url()) as connection:
                connection.execute("ALTER ROLE CURRENT_USER PASSWORD 'judged'")
            url = cluster.url().with_parameters(host="127.0.0.1", password="judged")
            yield cluster, url
        finally:
            remove_cluster(cluster)


@pytest.fixture
def new_database(tcp_server: tuple[Cluster, DatabaseUrl]) -> Generator[Callable[[], DatabaseUrl]]:
    """Makes empty databases that Prisma can reach; all are dropped afterwards."""
    cluster, url = tcp_server
    made: list[Any] = []

    def make() -> DatabaseUrl:
        context = servers.fresh_database(cluster)
        made.append(context)
        return url.with_database(context.__enter__().database)

    yield make
    for context in made:
        context.__exit__(None, None, None)
