"""Servers on the clusters that are kept: running inside a context, stopped after it, with settings for that time."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safepoint.postgres.binaries import Binaries
from safepoint.postgres.cluster import Cluster, adopt_cluster, running
from safepoint.postgres.connect import connect
from safepoint.postgres.run_directory import free_port, make_run_directory
from safepoint.postgres.server_user import server_user

LIVE: Mapping[str, str] = {
    "wal_level": "replica",
    "max_wal_senders": "10",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "2GB",
    "autovacuum": "off",  # the same work in every round
}


@contextmanager
def serving(data: Path, binaries: Binaries, settings: Mapping[str, str] | None = None) -> Generator[Cluster]:
    """The server runs on `data`, durable, with `LIVE` and these settings; nothing is left to be written out."""
    user = server_user(data, binaries)
    cluster = adopt_cluster(data, binaries, socket_directory=make_run_directory(data, user), port=free_port())
    try:
        with running(cluster, settings={**LIVE, **(settings or {})}, timeout=120):
            with connect(cluster.url()) as connection:
                connection.execute("CHECKPOINT")
            yield cluster
    finally:
        shutil.rmtree(cluster.socket_directory, ignore_errors=True)
