"""`init` before a real PgBouncer."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from test_pooler import pooled

import servers
from projects import make_project
from safepoint.errors import ExitCode
from safepoint.postgres.cluster import Cluster

pytestmark = pytest.mark.pg("17")


@pytest.mark.needs("pgbouncer")
def test_transaction_pooler(server_root: Path, server: Cluster) -> None:
    """A pooled DATABASE_URL is refused with the cure; with DIRECT_URL beside it that one is used and written down."""
    fresh = make_project(server_root, server)
    with servers.server_directory() as place, pooled(fresh.cluster, place, "transaction") as url:
        shell = fresh.shell.knowing(DATABASE_URL=url.with_database("shop").reveal())
        said = shell.safepoint("init", ends=ExitCode.REFUSED)
        assert said.error == "PG005"
        assert "DIRECT_URL" in said.err
        assert not (shell.folder / "safepoint.toml").exists()
        shell.knowing(DIRECT_URL=fresh.url.reveal()).safepoint("init")
    written = tomllib.loads((fresh.shell.folder / "safepoint.toml").read_text())["database"]["shop"]
    assert (written["direct_url"], written["url"]) == ("env:DIRECT_URL", "env:DATABASE_URL")
