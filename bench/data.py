"""The data that is measured: stopped clusters, made once below a scratch directory and kept for later runs.

`shop` is the VIVR shop of the examples with data checksums, about 3 GB; `tables` has 10,000 tables of one row and a
primary key each; those that servers run on are in `bench.clusters`. All are stopped cleanly after a checkpoint and
synced. A cluster is there when its stamp is: the stamp is written last, and what a killed run left without one is made
anew.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psycopg

from safepoint.postgres.binaries import Binaries, available_binaries, find_binaries
from safepoint.postgres.cluster import make_cluster, running
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl
from vivr_shop.generate import fill
from vivr_shop.migrations import apply_migrations

SHOP_ORDERS: Final = 1_850_000
SMALL_TABLES: Final = 10_000
LEFT_OUT: Final = ("pg_wal",)
"""Below the data directory, not part of what is measured: WAL has a way of its own into a repository."""

PREFERRED_MAJOR: Final = 15
_BATCH: Final = 500
_SETTINGS: Final = {
    "shared_buffers": "1GB",
    "maintenance_work_mem": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "max_locks_per_transaction": "512",
    "autovacuum": "off",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a cluster was made from and what came of it; one that differs in the first three is made anew."""

    name: str
    count: int
    major: int
    version: str
    system_identifier: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A stopped cluster: `data` is its data directory."""

    data: Path
    stamp: Stamp


def below(data: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Every directory and every file of a data directory that is measured, relative to it, each in order of names."""
    found = sorted(_walk(data, ""))
    directories = tuple(name for name, is_directory in found if is_directory)
    return directories, tuple(name for name, is_directory in found if not is_directory)


def shop(scratch: Path, *, orders: int = SHOP_ORDERS, say: Callable[[str], None]) -> DataSet:
    """The shop's cluster, made unless it is there."""
    return data_set(scratch, "shop", orders, fill_shop, say)


def small_tables(scratch: Path, *, say: Callable[[str], None]) -> DataSet:
    """The cluster of small tables, made unless it is there."""
    return data_set(scratch, "tables", SMALL_TABLES, _fill_tables, say)


def data_set(
    scratch: Path,
    name: str,
    count: int,
    filling: Callable[[DatabaseUrl, int], None],
    say: Callable[[str], None],
    *,
    major: int = PREFERRED_MAJOR,
) -> DataSet:
    """A cluster of that name, made unless it is there, of the wanted major where it is at hand, else of the newest."""
    binaries = binaries_like(major)
    folder = scratch / "data" / name
    made = _read_stamp(folder)
    if made is not None and (made.name, made.count, made.major) == (name, count, binaries.version.major):
        return DataSet(data=folder / "data", stamp=made)
    say(f"making the cluster {name} ({count:,}) with {binaries}, once")
    shutil.rmtree(folder, ignore_errors=True)
    _make(folder, binaries, count, filling)
    stamp = _stamp_of(folder / "data", name, count, binaries)
    os.sync()  # else write-back of the cluster would run into the first measurements
    _write_stamp(folder, stamp)
    return DataSet(data=folder / "data", stamp=stamp)


def binaries_like(major: int = PREFERRED_MAJOR) -> Binaries:
    """That major where it is at hand, so that runs on different machines resemble each other; else the newest."""
    majors = {found.version.major for found in available_binaries()}
    return find_binaries(major if major in majors else None)


def _make(folder: Path, binaries: Binaries, count: int, filling: Callable[[DatabaseUrl, int], None]) -> None:
    folder.mkdir(parents=True)
    for directory in (folder, folder.parent, folder.parent.parent):
        directory.chmod(0o755)  # the server's user must be able to enter
    cluster = make_cluster(folder / "data", binaries, settings=_SETTINGS, sync=False)
    try:
        with running(cluster):
            filling(cluster.url(), count)
            with connect(cluster.url()) as connection:
                connection.execute("CHECKPOINT")
    finally:
        shutil.rmtree(cluster.socket_directory, ignore_errors=True)


def fill_shop(url: DatabaseUrl, orders: int) -> None:
    """The shop, filled and vacuumed, so that visibility maps and free space maps are there as in a cluster in use."""
    with connect(url) as connection:
        apply_migrations(connection)
    with psycopg.connect(url.conninfo()) as connection:
        fill(connection, orders=orders)
    with connect(url) as connection:
        connection.execute("VACUUM")


def _fill_tables(url: DatabaseUrl, tables: int) -> None:
    with connect(url) as connection:
        for first in range(0, tables, _BATCH):
            with connection.transaction():
                connection.execute("; ".join(_small_tables(first, min(first + _BATCH, tables))).encode())


def _small_tables(first: int, end: int) -> Iterator[str]:
    for number in range(first, end):
        table = f"small_{number:05}"
        yield f"CREATE TABLE {table} (id integer PRIMARY KEY, note varchar(40))"
        yield f"INSERT INTO {table} VALUES ({number}, 'the only row of {table}')"


def _walk(data: Path, folder: str) -> Iterator[tuple[str, bool]]:
    with os.scandir(data / folder) as entries:
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield name, True
                if name not in LEFT_OUT:
                    yield from _walk(data, name)
            elif entry.is_file(follow_symlinks=False):
                yield name, False


def _stamp_of(data: Path, name: str, count: int, binaries: Binaries) -> Stamp:
    files = [data / path for path in below(data)[1]]
    return Stamp(
        name=name,
        count=count,
        major=binaries.version.major,
        version=str(binaries.version),
        system_identifier=str(int.from_bytes((data / "global/pg_control").read_bytes()[:8], "little")),
        files=len(files),
        bytes=sum(file.stat().st_size for file in files),
    )


def _read_stamp(folder: Path) -> Stamp | None:
    try:
        return Stamp(**json.loads((folder / "stamp.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _write_stamp(folder: Path, stamp: Stamp) -> None:
    draft = folder / "stamp.json.new"
    draft.write_text(json.dumps(asdict(stamp)))
    draft.replace(folder / "stamp.json")
