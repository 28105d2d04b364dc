"""Work that changes a cluster in every way that WAL summaries speak of, and a backup held against the files on disk."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import Connection

import servers
from backups import take_backup
from safepoint.backup.changes import main_fork_file
from safepoint.backup.sources.choice import Choice
from safepoint.kernel import PAGE_BYTES
from safepoint.model.backup import BackupManifest, BackupSource
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import Cluster, make_cluster, remove_cluster, start
from safepoint.postgres.connect import connect
from safepoint.postgres.data_walk import walk
from safepoint.postgres.page_mask import masked
from safepoint.repository import EntryKind, Repository, create_repository, open_repository
from safepoint.stores import open_store

SUMMARIZED = {"wal_keep_size": "1GB", "summarize_wal": "on", "max_wal_senders": "10", "full_page_writes": "on"}

TABLES = """
CREATE TABLE mixed AS SELECT g AS id, repeat(md5(g::text), 4) AS t FROM generate_series(1, 30000) g;
CREATE TABLE shrinking AS SELECT g AS id, repeat('s', 300) AS t FROM generate_series(1, 20000) g;
CREATE TABLE emptied AS SELECT g AS id, repeat('e', 300) AS t FROM generate_series(1, 5000) g;
CREATE TABLE moved AS SELECT g AS id, repeat('m', 300) AS t FROM generate_series(1, 3000) g;
CREATE TABLE rewritten AS SELECT g AS id, repeat('r', 300) AS t FROM generate_series(1, 3000) g;
CREATE TABLE still AS SELECT g AS id, repeat('q', 300) AS t FROM generate_series(1, 20000) g;
CREATE TABLE words AS SELECT g AS id, ARRAY[g % 7, g % 11] AS a, point(g, g) AS p FROM generate_series(1, 5000) g;
ALTER TABLE mixed ADD PRIMARY KEY (id);
CREATE INDEX ON words USING gin (a);
CREATE INDEX ON words USING gist (p);
CREATE INDEX ON words USING hash (id);
CREATE INDEX ON words USING brin (id);
CREATE INDEX ON words USING spgist (p);
CREATE SEQUENCE counter;
"""


def make_tables(connection: Connection[Any], elsewhere: Path) -> None:
    """Something of every kind; `elsewhere` is an empty directory of the server's user."""
    connection.execute(TABLES.encode())
    connection.execute(f"CREATE TABLESPACE elsewhere LOCATION '{elsewhere}'".encode())
    connection.execute("CREATE TABLE far TABLESPACE elsewhere AS SELECT g AS id FROM generate_series(1, 20000) g")
    connection.execute("CREATE DATABASE doomed")


def work(connection: Connection[Any], turn: int) -> None:
    """Everything at once, different in each turn; the connection is in autocommit."""
    for statement in _statements(turn):
        connection.execute(statement.encode())
    with connection.cursor().copy(b"COPY mixed FROM STDIN") as copy:
        for row in range(20000):
            copy.write_row((turn * 1_000_000 + row, "copied" * 20))
    connection.execute("SELECT count(*) FROM mixed WHERE t LIKE '%c%'")
    connection.execute("CHECKPOINT")


def _statements(turn: int) -> Iterator[str]:
    yield f"UPDATE mixed SET t = 'turn {turn}' WHERE id % 501 = {turn}"
    yield f"DELETE FROM mixed WHERE id % 777 = {turn}"
    yield f"INSERT INTO mixed SELECT 500000 + {turn} * 10000 + g, 'new' FROM generate_series(1, 500) g"
    yield f"DELETE FROM shrinking WHERE id > {15000 - 4000 * turn}"
    yield "VACUUM shrinking"  # gives the tail back: a limit that is not 0
    yield f"INSERT INTO shrinking SELECT 90000 + g, repeat('z', 300) FROM generate_series(1, {900 * turn}) g"
    yield "TRUNCATE emptied"
    yield f"INSERT INTO emptied SELECT g, repeat('f', 300) FROM generate_series(1, {700 * turn}) g"
    yield f"ALTER TABLE moved SET TABLESPACE {'elsewhere' if turn % 2 else 'pg_default'}"
    yield "ALTER TABLE rewritten ALTER id TYPE " + ("bigint" if turn % 2 else "int")
    yield f"UPDATE far SET id = -id WHERE id % 400 = {turn}"
    yield f"UPDATE words SET a = a || {turn}, p = point({turn}, id) WHERE id % 300 = {turn}"
    yield f"CREATE INDEX index_{turn} ON shrinking (id)"
    yield f"CREATE DATABASE by_log_{turn} STRATEGY wal_log"
    yield f"CREATE DATABASE by_copy_{turn} STRATEGY file_copy"
    yield f"DROP DATABASE {'doomed' if turn == 1 else f'by_copy_{turn - 1}'}"
    yield "SELECT nextval('counter') FROM generate_series(1, 100)"
    yield f"CREATE UNLOGGED TABLE unlogged_{turn} AS SELECT generate_series(1, 5000)"
    yield "VACUUM (ANALYZE)"


@contextmanager
def summarized_cluster(root: Path, major: int, *, checksums: bool = True, **settings: str) -> Generator[Cluster]:
    """A running server that summarizes WAL, gone after the context."""
    cluster = make_cluster(
        root / f"summarized-{major}-{checksums}",
        find_binaries(major),
        settings={**servers.SMALL, **SUMMARIZED, **settings},
        checksums=checksums,
        sync=False,
    )
    try:
        start(cluster)
        yield cluster
    finally:
        remove_cluster(cluster)


def new_repository(directory: Path) -> Repository:
    """A repository without encryption in a new folder of the directory."""
    return create_repository(open_store(f"file:{directory / 'repository'}"), None)


def take(cluster: Cluster, repository: Repository, source: BackupSource) -> BackupManifest:
    """A backup from the source, by whoever opens the repository anew."""
    return take_backup(cluster.url(), open_repository(repository.store, None), choice=choice_of(cluster, source))


def choice_of(cluster: Cluster, source: BackupSource) -> Choice:
    """That source of the cluster, for a test's sake."""
    return Choice(source=source, reason="a test", data=cluster.data if source is BackupSource.FILES else None)


def execute(cluster: Cluster, *statements: str) -> None:
    """Each statement by itself."""
    with connect(cluster.url()) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def differences(repository: Repository, backup: BackupManifest, cluster: Cluster, *, mask: bool = False) -> list[str]:
    """What of the main forks on disk, of a server at rest since the backup, is not in the backup as it is on disk."""
    files = repository.files(backup)
    listed = {entry.path: entry for entry in files.entries() if entry.kind is EntryKind.FILE}
    on_disk = {found.path: found for found in walk(cluster.data, backup.version.major) if main_fork_file(found.path)}
    wrong = sorted(on_disk.keys() ^ {path for path in listed if main_fork_file(path)})
    content = {path: bytearray() for path in on_disk}
    for entry, _, piece in files.contents(listed[path] for path in sorted(on_disk) if path in listed):
        content[entry.path] += piece
    for path, found in on_disk.items():
        wrong += _pages_that_differ(path, bytes(content[path]), Path(found.source).read_bytes(), mask=mask)
    return wrong


def _pages_that_differ(path: str, stored: bytes, disk: bytes, *, mask: bool) -> Iterator[str]:
    if len(stored) != len(disk):
        yield f"{path}: {len(stored)} bytes stored, {len(disk)} on disk"
    for at in range(0, 0 if stored == disk else min(len(stored), len(disk)), PAGE_BYTES):
        one, other = stored[at : at + PAGE_BYTES], disk[at : at + PAGE_BYTES]
        if one != other and not (mask and masked(one) == masked(other)):
            yield f"{path}: page {at // PAGE_BYTES}"
