"""A backup brought to life with nothing but its files, its WAL and PostgreSQL: an oracle that knows no restore of ours.

Files are written as they are listed, WAL is put into `pg_wal`, and the server starts: with `backup_label` there it
replays what it finds, to its end.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import Connection

from safepoint.model.backup import BackupManifest
from safepoint.model.lsn import WalSegment
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import Cluster, adopt_cluster, remove_cluster, start
from safepoint.postgres.connect import connect
from safepoint.repository import EntryKind, Repository


def write_plain(repository: Repository, backup: BackupManifest, into: Path) -> None:
    """The files of the backup, and all WAL of its timeline from its start on that the repository holds."""
    files = repository.files(backup)
    into.mkdir(mode=0o700)
    for entry in files.entries():
        target = into / entry.path
        if entry.kind is EntryKind.DIRECTORY:
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
        else:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.write_bytes(b"")
    wanted = (entry for entry in files.entries() if entry.kind is EntryKind.FILE)
    for entry, offset, piece in files.contents(wanted):
        with (into / entry.path).open("r+b") as file:
            file.seek(offset)
            file.write(piece)
    _write_wal(repository, backup, into / "pg_wal")


@contextmanager
def plain_copy(repository: Repository, backup: BackupManifest, into: Path) -> Generator[Cluster]:
    """A running server on the files of the backup, gone after the context."""
    write_plain(repository, backup, into)
    cluster = adopt_cluster(into, find_binaries(backup.version.major))
    try:
        start(cluster, settings={"archive_mode": "off", "fsync": "off", "allow_in_place_tablespaces": "on"})
        yield cluster
    finally:
        remove_cluster(cluster)


@contextmanager
def connected_copy(repository: Repository, backup: BackupManifest, into: Path) -> Generator[Connection[Any]]:
    """A connection to `plain_copy`."""
    with plain_copy(repository, backup, into) as cluster, connect(cluster.url()) as connection:
        yield connection


def _write_wal(repository: Repository, backup: BackupManifest, directory: Path) -> None:
    for piece in repository.wal_pieces(backup.system_identifier):
        if piece.timeline != backup.timeline or piece.end <= backup.start_lsn:
            continue
        segment = WalSegment.holding(piece.timeline, piece.start, backup.segment_size)
        target = directory / segment.name
        if not target.exists():
            target.write_bytes(bytes(segment.size))
            target.chmod(0o600)
        with target.open("r+b") as file:
            file.seek(piece.start - segment.start)
            file.write(repository.read_wal(piece))
