"""pg_basebackup with compression by the server, as tar files with the WAL that they need."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.commands import measured
from bench.measure import Outcome
from safepoint.postgres.cluster import Cluster

OPTIONS = ("-Ft", "--compress=server-zstd:level=1,workers=2", "-X", "fetch", "-c", "fast")


def full(cluster: Cluster, directory: Path) -> Outcome:
    """A base backup of the running cluster in the directory, which is gone afterwards; its fact `bytes`."""
    shutil.rmtree(directory, ignore_errors=True)
    program = cluster.binaries.program("pg_basebackup")
    where = ("-h", str(cluster.socket_directory), "-p", str(cluster.port), "-U", "postgres")
    outcome = measured([program, *where, "-D", directory, *OPTIONS])
    shutil.rmtree(directory)
    return outcome
