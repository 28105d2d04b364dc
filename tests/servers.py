"""Servers for tests: one shared by all tests of a major, or one of a test's own. Every one is stopped at the end."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

from psycopg import sql

from safepoint.postgres.binaries import available_binaries, find_binaries
from safepoint.postgres.cluster import Cluster, adopt_cluster, make_cluster, remove_cluster, start
from safepoint.postgres.connect import connect
from safepoint.postgres.programs import run_program
from safepoint.postgres.url import DatabaseUrl

TESTED_MAJORS = (15, 16, 17, 18)

SMALL: Mapping[str, str] = {
    "shared_buffers": "16MB",
    "wal_level": "logical",
    "max_wal_size": "256MB",
    "autovacuum_naptime": "10min",
}

_numbers = itertools.count(1)


def majors_at_hand() -> tuple[int, ...]:
    """The tested majors whose server programs are on this machine."""
    found = {binaries.version.major for binaries in available_binaries()}
    return tuple(major for major in TESTED_MAJORS if major in found)


def is_wanted(major: int, condition: str) -> bool:
    """Whether a major satisfies a condition like `>= 17` or `15` or `>= 15, < 18`."""
    compare: dict[str, Callable[[int, int], bool]] = {
        ">=": int.__ge__,
        "<=": int.__le__,
        "==": int.__eq__,
        "!=": int.__ne__,
        ">": int.__gt__,
        "<": int.__lt__,
    }
    for part in condition.split(","):
        operator = next((sign for sign in compare if part.strip().startswith(sign)), "")
        if not compare[operator or "=="](major, int(part.strip().removeprefix(operator))):
            return False
    return True


@contextmanager
def server_directory() -> Generator[Path]:
    """A fresh directory that a server's user can enter (pytest's own are closed to everyone else), gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="sp-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def make_server(directory: Path, major: int, settings: Mapping[str, str] | None = None) -> Cluster:
    """A new cluster in a directory of its own below `directory`, running without fsync. The caller removes it."""
    data = directory / f"pg{major}-{next(_numbers)}"
    cluster = make_cluster(data, find_binaries(major), settings={**SMALL, **(settings or {})}, sync=False)
    try:
        start(cluster)
    except BaseException:
        remove_cluster(cluster)
        raise
    return cluster


@contextmanager
def serving(directory: Path, major: int, settings: Mapping[str, str] | None = None) -> Generator[Cluster]:
    """`make_server`, gone after the context."""
    cluster = make_server(directory, major, settings)
    try:
        yield cluster
    finally:
        remove_cluster(cluster)


@contextmanager
def fresh_database(cluster: Cluster) -> Generator[DatabaseUrl]:
    """An empty database of the cluster, dropped afterwards with whoever is still connected."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with connect(cluster.url()) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield cluster.url(name)
    finally:
        with connect(cluster.url()) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def temporary_role(cluster: Cluster, name: str, attributes: LiteralString = "LOGIN") -> Generator[DatabaseUrl]:
    """A role of the shared server, gone afterwards."""
    with connect(cluster.url()) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} " + attributes).format(sql.Identifier(name)))
        try:
            yield cluster.url().with_parameters(user=name)
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def standby_of(primary: Cluster, data: Path) -> Cluster:
    """A standby that runs in this directory and streams from the primary; whoever asked removes it."""
    primary.user.make_directory(data)
    program = primary.binaries.program("pg_basebackup")
    run_program(primary.user, [program, "-D", data, "-R", "-c", "fast", "-d", primary.url().conninfo()])
    standby = adopt_cluster(data, primary.binaries)
    start(standby)
    return standby
