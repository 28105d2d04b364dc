"""The WAL receiver against real servers: durable before acknowledged, never a silent hole."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

import servers
from backups import (
    BackgroundReceiver,
    flushed,
    new_repository,
    newest_mark,
    pieces_of,
    receiving,
    receiving_process,
    reopened,
    server_clock,
    system_identifier,
    take_backup,
    wait_until,
)
from safepoint import errors
from safepoint.backup.coverage import coverage_of, spans_of
from safepoint.backup.durable import durable_up_to
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.cluster import Cluster, promote, remove_cluster, start, stop
from safepoint.postgres.connect import connect
from safepoint.repository import Repository, create_repository
from safepoint.stores.folder import FolderStore
from safepoint.stores.port import Data

EIGHTEEN = pytest.mark.pg("18")
SLOT = "safepoint_shop"
ONE = TimelineId(1)


def write(connection: Connection[Any], rows: int = 1000) -> Lsn:
    """Some WAL; how far it is flushed afterwards."""
    connection.execute("SET synchronous_commit = on")
    connection.execute("CREATE TABLE IF NOT EXISTS written (g int, filler text)")
    connection.execute("INSERT INTO written SELECT g, md5(g::text) FROM generate_series(1, %s) g", [rows])
    return flushed(connection)


def held_end(repository: Repository, cluster: Cluster, timeline: TimelineId = ONE) -> Lsn:
    """The end of the only contiguous stretch held; fails when there are two."""
    spans = spans_of(pieces_of(repository, cluster)).get(timeline, ())
    assert len(spans) <= 1
    return spans[0].end if spans else Lsn(0)


def slot_position(connection: Connection[Any]) -> Lsn:
    row = connection.execute(
        "SELECT restart_lsn::text FROM pg_replication_slots WHERE slot_name = %s", [SLOT]
    ).fetchone()
    assert row is not None
    return Lsn.parse(row[0])


@contextmanager
def connected_to(cluster: Cluster) -> Generator[Connection[Any]]:
    with connect(cluster.url()) as connection:
        yield connection


def test_wal_is_acknowledged_when_and_only_when_it_is_in_the_repository(server: Cluster, server_root: Path) -> None:
    """The slot never stands beyond what the listing shows, and reaches it."""
    repository = new_repository(server_root)
    end = Lsn(0)
    with receiving(server.url(), repository), connected_to(server) as connection:
        for _ in range(20):
            end = write(connection, 5000)
            acknowledged = slot_position(connection)
            first = repository.wal_pieces(system_identifier(server))
            if first:
                assert acknowledged <= held_end(repository, server)
        wait_until(lambda: held_end(repository, server) >= end)
        wait_until(lambda: slot_position(connection) >= end)


@EIGHTEEN
def test_what_was_received_is_what_the_server_wrote(server: Cluster, server_root: Path) -> None:
    """Byte for byte, across segments."""
    repository = new_repository(server_root)
    with connected_to(server) as connection:
        connection.execute("SELECT pg_create_physical_replication_slot('keep', true)")
        with receiving(server.url(), repository):
            end = write(connection, 200_000)
            wait_until(lambda: held_end(repository, server) >= end)
    whole = [piece for piece in pieces_of(repository, server) if not piece.is_partial]

    assert len(whole) > 0
    for piece in whole:
        name = Path(piece.name).name.split(".")[0]
        on_disk = (server.data / "pg_wal" / name).read_bytes()
        assert repository.read_wal(piece) == on_disk


@EIGHTEEN
def test_time_advances_on_an_idle_server(server: Cluster, server_root: Path) -> None:
    """Marks go on although no WAL is written."""
    repository = new_repository(server_root)
    identifier = system_identifier(server)
    with receiving(server.url(), repository), connected_to(server) as connection:
        write(connection)
        now = server_clock(connection)
        wait_until(lambda: (mark := newest_mark(repository, identifier)) is not None and mark.clock > now)
        later = server_clock(connection) + timedelta(seconds=1)
        wait_until(lambda: (mark := newest_mark(repository, identifier)) is not None and mark.clock > later)

    assert len(repository.wal_pieces(identifier)) <= 10


@EIGHTEEN
def test_a_killed_receiver_resumes_without_a_hole(server: Cluster, server_root: Path) -> None:
    """SIGKILL in the midst of traffic, several times; what it goes on with is decided by the repository."""
    repository = new_repository(server_root)
    end = Lsn(0)
    with connected_to(server) as connection:
        for _ in range(3):
            with receiving_process(server.url(), server_root) as process:
                before = held_end(repository, server)
                end = write(connection, 60_000)
                wait_until(lambda before=before: held_end(repository, server) > before)
                process.send_signal(signal.SIGKILL)
            end = write(connection, 30_000)
        with receiving(server.url(), repository):
            wait_until(lambda: held_end(repository, server) >= end)

    assert coverage_of([], pieces_of(repository, server)).gaps == ()


@EIGHTEEN
def test_a_backup_while_the_receiver_is_away_leaves_no_hole_before_it(server: Cluster, server_root: Path) -> None:
    """The receiver comes back and fetches what lies between its last byte and the WAL that the backup stored."""
    repository = new_repository(server_root)
    with connected_to(server) as connection:
        with receiving(server.url(), repository):
            end = write(connection)
            wait_until(lambda: held_end(repository, server) >= end)
        for _ in range(4):
            write(connection, 20_000)
            connection.execute("SELECT pg_switch_wal()")
        take_backup(server.url(), repository)
        with receiving(server.url(), repository):
            end = write(connection)
            wait_until(lambda: spans_of(pieces_of(repository, server))[ONE][-1].end >= end)

    assert coverage_of([], pieces_of(repository, server)).gaps == ()
    assert held_end(repository, server) >= end


@EIGHTEEN
def test_a_restarted_server_is_followed(server: Cluster, server_root: Path) -> None:
    """Reconnected by itself, and told of."""
    repository = new_repository(server_root)
    with receiving(server.url(), repository) as background:
        with connected_to(server) as connection:
            end = write(connection)
        wait_until(lambda: held_end(repository, server) >= end)
        stop(server, mode="immediate")
        start(server)
        with connected_to(server) as connection:
            end = write(connection)
        wait_until(lambda: held_end(repository, server) >= end)

    assert background.watcher.errors


@EIGHTEEN
def test_patience_with_an_absent_server_is_bounded(server: Cluster, server_root: Path) -> None:
    """Then the receiver ends with what is wrong."""
    repository = new_repository(server_root)
    background = BackgroundReceiver(server.url(), repository, reconnect_seconds=1.0)
    wait_until(lambda: bool(background.watcher.states))
    stop(server)

    error = background.wait_for_end()

    assert isinstance(error, errors.Unreachable)


@EIGHTEEN
def test_wal_that_is_gone_from_the_server_is_an_error_and_not_a_hole(server: Cluster, server_root: Path) -> None:
    """The slot dropped behind our back and the WAL recycled: WL004; with the gap accepted, it is named ever after."""
    repository = new_repository(server_root)
    with receiving(server.url(), repository), connected_to(server) as connection:
        end = write(connection)
        wait_until(lambda: held_end(repository, server) >= end)
    with connected_to(server) as connection:
        connection.execute("SELECT pg_drop_replication_slot(%s)", [SLOT])
        for _ in range(4):
            write(connection, 50_000)
            connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")
        connection.execute("CHECKPOINT")

    error = BackgroundReceiver(server.url(), repository).wait_for_end()

    assert isinstance(error, errors.Damaged)
    assert error.spec is errors.WL004
    with receiving(server.url(), repository, accept_gap=True), connected_to(server) as connection:
        end = write(connection)
        wait_until(lambda: coverage_end(repository, server) >= end)
    (gap,) = coverage_of([], pieces_of(repository, server)).gaps
    assert gap.end > gap.start


def coverage_end(repository: Repository, cluster: Cluster) -> Lsn:
    return max((piece.end for piece in pieces_of(repository, cluster)), default=Lsn(0))


@EIGHTEEN
def test_a_slot_in_use_is_refused(server: Cluster, server_root: Path) -> None:
    """WL003 names the slot; the first receiver goes on."""
    repository = new_repository(server_root)
    with receiving(server.url(), repository) as first:
        wait_until(lambda: bool(first.watcher.states))

        error = BackgroundReceiver(server.url(), reopened(server_root), slot_seconds=0.5).wait_for_end()

        assert isinstance(error, errors.Refused)
        assert error.spec is errors.WL003
        assert SLOT in error.message
        with connected_to(server) as connection:
            end = write(connection)
        wait_until(lambda: held_end(repository, server) >= end)


@EIGHTEEN
def test_another_cluster_under_the_same_name_is_refused_at_the_first_byte(server: Cluster, server_root: Path) -> None:
    """WL001, and nothing of it is stored."""
    repository = new_repository(server_root)
    take_backup(server.url(), repository)
    with servers.serving(server_root, 18) as other:
        error = BackgroundReceiver(other.url(), repository).wait_for_end()

        assert isinstance(error, errors.Refused)
        assert error.spec is errors.WL001
        assert repository.wal_pieces(system_identifier(other)) == ()


class FullStore:
    """A store that is full when told so."""

    def __init__(self, inner: FolderStore) -> None:
        self._inner = inner
        self.is_full = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        if self.is_full:
            raise errors.ST002.error("found no space, expected some")
        return self._inner.put_if_absent(name, data, durable=durable)


@EIGHTEEN
def test_while_the_store_is_full_nothing_is_acknowledged(server: Cluster, server_root: Path) -> None:
    """It is said loudly, tried again, and caught up with: pg_wal is the queue."""
    store = FullStore(FolderStore(server_root / "repository"))
    repository = create_repository(store, None)  # type: ignore[arg-type]
    with receiving(server.url(), repository) as background, connected_to(server) as connection:
        end = write(connection)
        wait_until(lambda: held_end(repository, server) >= end)
        store.is_full = True
        end = write(connection, 10_000)
        wait_until(lambda: any(error.spec is errors.ST002 for error in background.watcher.errors))
        assert slot_position(connection) <= held_end(repository, server) < end
        store.is_full = False
        wait_until(lambda: held_end(repository, server) >= end)


@EIGHTEEN
def test_what_a_lost_server_sent_last_is_stored_even_if_the_store_refuses_at_first(
    server: Cluster, server_root: Path
) -> None:
    """It may never come back: the bytes are kept and put when the store takes them again."""
    store = FullStore(FolderStore(server_root / "repository"))
    repository = create_repository(store, None)  # type: ignore[arg-type]
    with receiving(server.url(), repository) as background:
        with connected_to(server) as connection:
            end = write(connection)
            wait_until(lambda: held_end(repository, server) >= end)
            store.is_full = True
            end = write(connection)
            identifier = system_identifier(server)
            wait_until(lambda: background.watcher.states[-1].received >= end)
        stop(server, mode="immediate")
        wait_until(lambda: background.watcher.errors[-1].spec is errors.ST002)
        time.sleep(1)
        store.is_full = False
        wait_until(lambda: spans_of(repository.wal_pieces(identifier))[ONE][-1].end >= end)


@EIGHTEEN
def test_a_server_that_hangs_does_not_keep_back_what_it_sent(server: Cluster, server_root: Path) -> None:
    """Its clock cannot be asked, and yet the receiver ships, tells how it stands, and stops when told to."""
    repository = new_repository(server_root)
    with connected_to(server) as connection:
        background = BackgroundReceiver(server.url(), repository)
        end = write(connection)
        wait_until(lambda: held_end(repository, server) >= end)
        hung = processes_of(server)
        tell(hung, signal.SIGSTOP)
        try:
            told = len(background.watcher.states)
            wait_until(lambda: len(background.watcher.states) > told + 1)
            background.stop()
        finally:
            tell(hung, signal.SIGCONT)
        assert held_end(repository, server) >= end


def tell(processes: list[int], what: signal.Signals) -> None:
    """Sends the signal to those still there: a session may end, or be gone on with, between two of them."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, what)


def processes_of(cluster: Cluster) -> list[int]:
    """The postmaster and its children."""
    postmaster = int((cluster.data / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return [postmaster, *map(int, children)]


@EIGHTEEN
def test_a_promotion_is_followed_onto_the_new_timeline(server: Cluster, server_root: Path) -> None:
    """The history is stored, the new timeline's WAL begins with the segment of the switch, and coverage crosses it."""
    repository = new_repository(server_root)
    with receiving(server.url(), repository), connected_to(server) as connection:
        end = write(connection)
        wait_until(lambda: held_end(repository, server) >= end)
        backup = take_backup(server.url(), repository)
    standby = servers.standby_of(server, server_root / "standby")
    try:
        with receiving(server.url(), repository), connected_to(server) as connection:
            end = write(connection)
            wait_until(lambda: held_end(repository, server) >= end)
        with connected_to(standby) as connection:
            wait_until(lambda: replayed(connection) >= end)
        stop(server)
        promote(standby)
        with receiving(standby.url(), repository), connected_to(standby) as connection:
            end = write(connection)
            two = TimelineId(2)
            wait_until(
                lambda: (
                    durable_up_to(repository, backup.system_identifier, two, end) >= end
                    and held_end(repository, standby, two) >= end
                )
            )
    finally:
        remove_cluster(standby)

    history = repository.read_history(backup.system_identifier, TimelineId(2))
    assert history is not None
    coverage = coverage_of([backup], repository.wal_pieces(backup.system_identifier), {}, {TimelineId(2): history})
    newest = coverage.intervals[-1]
    assert (newest.timeline, newest.end >= end) == (TimelineId(2), True)


def replayed(connection: Connection[Any]) -> Lsn:
    row = connection.execute("SELECT pg_last_wal_replay_lsn()::text").fetchone()
    assert row is not None
    return Lsn.parse(row[0])
