"""Receivers into several repositories, one of which may refuse; what tests of WAL by stream share."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backups import DATABASE, Watcher, running_code
from safepoint import errors
from safepoint.backup.coverage import spans_of
from safepoint.backup.lane import Sink
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.cluster import Cluster
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl
from safepoint.repository import Repository, create_repository, open_repository
from safepoint.stores.folder import FolderStore
from safepoint.stores.port import Data

SLOT = f"safepoint_{DATABASE}"
ONE = TimelineId(1)


class FickleStore:
    """A folder that refuses puts, in every process, while a file of its name with `.refuses` is beside it."""

    def __init__(self, folder: Path) -> None:
        self._inner = FolderStore(folder)
        self._flag = folder.with_suffix(".refuses")

    @property
    def refuses(self) -> bool:
        return self._flag.exists()

    @refuses.setter
    def refuses(self, value: bool) -> None:
        self._flag.touch() if value else self._flag.unlink(missing_ok=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        if self.refuses:
            raise errors.ST001.error("found no answer, expected one")
        return self._inner.put_if_absent(name, data, durable=durable)


class Named:
    """A repository of a test by its name, on a store that can be made to refuse."""

    def __init__(self, directory: Path, name: str, *, is_required: bool = True) -> None:
        self.store = FickleStore(directory / name)
        store: Any = self.store
        self.repository: Repository = create_repository(store, None)
        self.sink = Sink(name=name, open=lambda: self.repository, is_required=is_required)

    def end(self, cluster: str, timeline: TimelineId = ONE) -> Lsn:
        """How far it holds the timeline without a hole from its first byte on."""
        spans = spans_of(self.repository.wal_pieces(cluster)).get(timeline, ())
        return spans[0].end if spans else Lsn(0)


def write(cluster: Cluster, rows: int = 1000) -> Lsn:
    """Some WAL, all of it flushed, although the servers of tests would answer before; how far."""
    with connect(cluster.url()) as connection:
        connection.execute("SET synchronous_commit = local")
        connection.execute("CREATE TABLE IF NOT EXISTS written (g int, filler text)")
        connection.execute("INSERT INTO written SELECT g, md5(g::text) FROM generate_series(1, %s) g", [rows])
        row = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
    assert row is not None
    return Lsn.parse(row[0])


def recycle(cluster: Cluster) -> None:
    """Whatever no slot keeps is gone from the server."""
    with connect(cluster.url()) as connection:
        for _ in range(3):
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")


def slot_position(cluster: Cluster) -> Lsn:
    """How far the server was told that WAL is durable; 0/0 without a slot."""
    with connect(cluster.url()) as connection:
        row = connection.execute(
            "SELECT restart_lsn::text FROM pg_replication_slots WHERE slot_name = %s", [SLOT]
        ).fetchone()
    return Lsn(0) if row is None or row[0] is None else Lsn.parse(row[0])


def told_of(watcher: Watcher, name: str) -> list[errors.SafepointError]:
    """What was told of one repository."""
    return [error for error in watcher.errors if f"repository {name}:" in error.message]


@contextmanager
def process_into(url: DatabaseUrl, directory: Path, names: list[str], options: str = "") -> Generator[Any]:
    """A receiver in a process of its own, to be killed; killed anyway at the end."""
    code = (
        "import sys; from pathlib import Path; from receivers import *\n"
        "from safepoint.backup.receiver import WalReceiver\n"
        f"sinks = tuple(opened(Path({str(directory)!r}), name) for name in {names!r})\n"
        f"WalReceiver(url=DatabaseUrl.parse(sys.argv[1]), sinks=sinks, database={DATABASE!r},"
        f" ship_seconds=0.1, slot_seconds=30.0, {options}).run()"
    )
    with running_code(code, url.reveal()) as process:
        yield process


def opened(directory: Path, name: str) -> Sink:
    """The repository as another process sees it."""
    store: Any = FickleStore(directory / name)
    return Sink(name=name, open=lambda: open_repository(store, None))
