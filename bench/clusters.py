"""The clusters that servers run on while they are backed up, and the WAL of one of them. Made once, as in `bench.data`.

`production` is a cluster of PostgreSQL 15 with data checksums: pgbench, the shop, 2,000 small tables; 4 GB.
`many` and `few` hold the same bytes in 20,000 relations and in 100. `scattered` is a table of PostgreSQL 18 in which
pages can be changed one by one. `wal` is a base backup and the 128 segments of WAL that follow it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from zstandard import ZstdCompressor

from bench.data import DataSet, below, binaries_like, data_set, fill_shop
from safepoint.postgres.binaries import Binaries, find_binaries
from safepoint.postgres.cluster import Cluster, make_cluster, remove_cluster, running
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl

SEGMENTS: Final = 128
SEGMENT_BYTES: Final = 16 * 1024 * 1024
SUMMARIES_MAJOR: Final = 18
SHARES: Final = (1, 6, 9)
"""Per cent of the pages of `scattered` that are changed."""

SUMMARIES: Final = {"summarize_wal": "on", "wal_keep_size": "2GB"}
"""The settings under which changed pages are known by WAL summaries."""

MANY_RELATIONS: Final = 20_000
FEW_RELATIONS: Final = 100

_PRODUCTION_SCALE = 75
_PRODUCTION_ORDERS = 1_700_000
_PRODUCTION_TABLES = 2_000
_RELATION_ROWS = 304  # eight pages of 38 rows
_SCATTERED_PAGES = 480_000
_ROWS_A_PAGE = 6
_WAL_SCALE = 30
_BATCH = 500
_PAGE_BYTES = 8192
_SEGMENT_PAGES = 131_072
_RUN_PAGES = 32
_WAL_SETTINGS = {
    "wal_level": "replica",
    "max_wal_senders": "10",
    "wal_keep_size": f"{(SEGMENTS + 40) * 16}MB",
    "max_wal_size": "512MB",  # full page images keep coming, as they do over a day
    "shared_buffers": "512MB",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wal:
    """A base backup below `folder`/base, and what follows it, segment by segment, below `folder`/segments."""

    folder: Path
    version: str
    system_identifier: str
    segments: tuple[str, ...]

    @property
    def base(self) -> Path:
        """The data directory as pg_basebackup wrote it, without WAL."""
        return self.folder / "base"

    def paths(self) -> Iterator[Path]:
        """The segments' files, in order."""
        return (self.folder / "segments" / name for name in self.segments)


def production(scratch: Path, say: Callable[[str], None]) -> DataSet:
    """The cluster that full backups are taken of."""
    return data_set(scratch, "production", _PRODUCTION_SCALE, _fill_production, say)


def many_relations(scratch: Path, say: Callable[[str], None]) -> DataSet:
    """A cluster of 20,000 relations of the user's."""
    return _without_free_space_maps(data_set(scratch, "many", MANY_RELATIONS, _fill_relations, say))


def few_relations(scratch: Path, say: Callable[[str], None]) -> DataSet:
    """As many rows in 100 relations."""
    return _without_free_space_maps(data_set(scratch, "few", FEW_RELATIONS, _fill_relations, say))


def scattered(scratch: Path, say: Callable[[str], None]) -> DataSet:
    """The cluster whose pages are changed one by one; LookupError without PostgreSQL 18."""
    if binaries_like(SUMMARIES_MAJOR).version.major != SUMMARIES_MAJOR:
        raise LookupError(f"found no PostgreSQL {SUMMARIES_MAJOR}")
    return data_set(scratch, "scattered", _SCATTERED_PAGES, _fill_scattered, say, major=SUMMARIES_MAJOR)


def change_pages(url: DatabaseUrl, per_cent: int, seed: int) -> list[int]:
    """So many per cent of the table's pages, at random, have one row of theirs updated in place; their block numbers.

    They are on disk when this returns.
    """
    with connect(url) as connection:
        connection.execute(f"SELECT setseed({seed % 1000 / 1000})".encode())
        changed = connection.execute(
            "UPDATE scattered SET note = md5(random()::text) WHERE id = ANY (ARRAY(SELECT page * "
            f"{_ROWS_A_PAGE} + 1 FROM generate_series(0, {_SCATTERED_PAGES - 1}) AS page "
            f"WHERE random() < {per_cent / 100})) RETURNING (ctid::text::point)[0]::integer".encode()
        ).fetchall()
        connection.execute("CHECKPOINT")
    return sorted({int(block) for (block,) in changed})


def compressed_alone(cluster: Cluster, blocks: Sequence[int]) -> int:
    """What these pages of the table would take with nothing else stored: runs of 32 of them, each through zstd-1."""
    with connect(cluster.url()) as connection:
        row = connection.execute("SELECT pg_relation_filepath('scattered')").fetchone()
    if row is None:
        raise LookupError("found no table scattered, expected one")
    compressor, total = ZstdCompressor(level=1), 0
    for first in range(0, len(blocks), _RUN_PAGES):
        run = b"".join(_page(cluster.data / str(row[0]), block) for block in blocks[first : first + _RUN_PAGES])
        total += len(compressor.compress(run))
    return total


def wal(scratch: Path, say: Callable[[str], None]) -> Wal:
    """The base backup and its WAL, made unless they are there."""
    folder, binaries = scratch / "data" / "wal", binaries_like()
    made = _read_wal(folder)
    if made is not None and made.version == str(binaries.version):
        return made
    say(f"making {SEGMENTS} segments of WAL with {binaries}, once")
    shutil.rmtree(folder, ignore_errors=True)
    return _make_wal(folder, binaries)


def program(url: DatabaseUrl, binaries: Binaries, name: str, *arguments: str) -> None:
    """One of PostgreSQL's programs has run against that server; RuntimeError with its words when it failed."""
    command = [str(_program(binaries, name)), *arguments, "-d", url.conninfo()]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"found exit code {answer.returncode} of {name}, expected 0:\n{answer.stderr}")


def pgbench(url: DatabaseUrl, binaries: Binaries, *arguments: str) -> None:
    """pgbench has run; its database comes last on its command line, unlike that of the others."""
    command = [str(_program(binaries, "pgbench")), *arguments, url.conninfo()]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"found exit code {answer.returncode} of pgbench, expected 0:\n{answer.stderr}")


def _program(binaries: Binaries, name: str) -> Path:
    return find_binaries(binaries.version.major, programs=("postgres", name)).program(name)


def _fill_production(url: DatabaseUrl, scale: int) -> None:
    """pgbench and 2,000 small tables in one database, the shop in another."""
    with connect(url) as connection:
        connection.execute("CREATE DATABASE shop")
        connection.execute("CREATE DATABASE bench")
    fill_shop(url.with_parameters(dbname="shop"), _PRODUCTION_ORDERS)
    bench = url.with_parameters(dbname="bench")
    pgbench(bench, binaries_like(), "-i", "-q", "-s", str(scale))
    _in_batches(bench, _PRODUCTION_TABLES, _small_table)


def _small_table(number: int) -> str:
    table = f"small_{number:05}"
    return (
        f"CREATE TABLE {table} (id integer PRIMARY KEY, name varchar(40), note text); CREATE INDEX ON {table} (name); "
        f"INSERT INTO {table} SELECT n, md5(n::text), 'row ' || n || ' of {table}' FROM generate_series(1, 150) AS n"
    )


def _fill_relations(url: DatabaseUrl, relations: int) -> None:
    """Rows of words that zstd finds as it does in tables of people's: neither all alike nor at random."""
    rows = _RELATION_ROWS * MANY_RELATIONS // relations
    _in_batches(url, relations, lambda number: _relation(number, rows))


def _relation(number: int, rows: int) -> str:
    """No key and nothing to be toasted: one relation and its free space map."""
    table = f"relation_{number:05}"
    return (
        f"CREATE TABLE {table} (id integer, at integer, note char(120), mark char(32)); "
        f"INSERT INTO {table} SELECT n, n * 7, 'row ' || n || ' of {table}', md5((n + {number})::text) "
        f"FROM generate_series(1, {rows}) AS n"
    )


def _without_free_space_maps(dataset: DataSet) -> DataSet:
    """The stopped cluster without them: each has three pages, which are a third of a small relation.

    A server makes them anew when it wants them (PostgreSQL documentation, "Free Space Map").
    """
    for path in dataset.data.glob("base/*/*_fsm"):
        path.unlink()
    files = [dataset.data / path for path in below(dataset.data)[1]]
    size = sum(file.stat().st_size for file in files)
    return replace(dataset, stamp=replace(dataset.stamp, files=len(files), bytes=size))


def _in_batches(url: DatabaseUrl, count: int, statement: Callable[[int], str]) -> None:
    with connect(url) as connection:
        for first in range(0, count, _BATCH):
            with connection.transaction():
                batch = "; ".join(statement(number) for number in range(first, min(first + _BATCH, count)))
                connection.execute(batch.encode())


def _fill_scattered(url: DatabaseUrl, pages: int) -> None:
    """Six rows of about 1 kB a page, with room for one more, so that an update stays on its page."""
    with connect(url) as connection:
        connection.execute(
            "CREATE TABLE scattered (id integer, note char(32), one char(240), two char(240), three char(240), "
            "four char(240)) WITH (fillfactor = 80, autovacuum_enabled = off)"
        )
        connection.execute(
            "INSERT INTO scattered SELECT n, md5(n::text), md5(n::text) || n, 'item ' || n || md5((n / 7)::text), "
            "repeat(md5(n::text), 3), 'from here to there' || n * 3 "
            f"FROM generate_series(1, {pages * _ROWS_A_PAGE}) AS n".encode()
        )
        connection.execute("CREATE UNIQUE INDEX ON scattered (id)")
        connection.execute("VACUUM scattered")


def _make_wal(folder: Path, binaries: Binaries) -> Wal:
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    cluster = make_cluster(folder / "data", binaries, settings=_WAL_SETTINGS, sync=False)
    try:
        with running(cluster, settings={"full_page_writes": "on"}):
            url = cluster.url()
            pgbench(url, binaries, "-i", "-q", "-s", str(_WAL_SCALE))
            base = ("-D", str(folder / "base"), "-X", "none", "-c", "fast", "--no-sync", "--no-slot")
            program(url, binaries, "pg_basebackup", *base)
            names = _names_after(folder / "base")
            while not (cluster.data / "pg_wal" / names[-1]).exists() or not _is_complete(url, names[-1]):
                pgbench(url, binaries, "-n", "-c", "8", "-j", "2", "-T", "10")
        (folder / "segments").mkdir()
        for name in names:
            shutil.copyfile(cluster.data / "pg_wal" / name, folder / "segments" / name)
    finally:
        remove_cluster(cluster)
    found = Wal(folder=folder, version=str(binaries.version), system_identifier=_identifier(folder), segments=names)
    described = {**asdict(found), "folder": None}
    (folder / "wal.json").write_text(json.dumps(described))
    return found


def _page(path: Path, block: int) -> bytes:
    """One page of a relation, in whichever of its segments it is."""
    segment, place = divmod(block, _SEGMENT_PAGES)
    with path.with_name(f"{path.name}.{segment}" if segment else path.name).open("rb") as file:
        file.seek(place * _PAGE_BYTES)
        return file.read(_PAGE_BYTES)


def _names_after(base: Path) -> tuple[str, ...]:
    """The names of the segments from the one in which the backup began."""
    label = (base / "backup_label").read_text()
    first = label.partition("(file ")[2][:24]
    number = int(first[8:16], 16) * 256 + int(first[16:24], 16)
    return tuple(f"{first[:8]}{n // 256:08X}{n % 256:08X}" for n in range(number, number + SEGMENTS))


def _is_complete(url: DatabaseUrl, segment: str) -> bool:
    with connect(url) as connection:
        row = connection.execute("SELECT pg_walfile_name(pg_current_wal_flush_lsn())").fetchone()
    return row is not None and str(row[0]) > segment


def _identifier(folder: Path) -> str:
    return str(int.from_bytes((folder / "base/global/pg_control").read_bytes()[:8], "little"))


def _read_wal(folder: Path) -> Wal | None:
    try:
        found: dict[str, Any] = json.loads((folder / "wal.json").read_text())
        named: dict[str, Any] = {**found, "folder": folder, "segments": tuple(found["segments"])}
        return Wal(**named)
    except (OSError, ValueError, TypeError):
        return None
