"""The pusher at its socket: `ok` only for a file that every required repository holds now, whatever breaks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

import archiving
from archiving import pushing, wait_until
from repository_samples import make_repository
from safepoint import errors
from safepoint.backup.archive.archive import WalArchive
from safepoint.backup.archive.data_directory import DataDirectory, copy_of
from safepoint.backup.archive.wire import OK, WAIT
from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn
from safepoint.repository import Repository
from safepoint.stores import MemoryStore
from safepoint.stores.port import Data
from wal_files import CLUSTER, MEBIBYTE, history_bytes, make_data_directory, put_ready, segment, segment_bytes

CODE = Path(__file__).parents[2] / "src"
FIVE, SIX = segment(5), segment(6)


class Store(MemoryStore):
    """Refuses puts while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.refusal: errors.SafepointError | None = None
        self.slow_seconds = 0.0

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        time.sleep(self.slow_seconds)
        if self.refusal is not None:
            raise self.refusal
        return super().put_if_absent(name, data, durable=durable)


@pytest.fixture
def directory() -> Generator[Path]:
    with archiving.private_directory() as path:
        yield path


@pytest.fixture
def data(directory: Path) -> DataDirectory:
    return make_data_directory(directory / "data")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def repository(store: Store) -> Repository:
    return make_repository(store, None)


def push(data: DataDirectory, name: str, path: Path) -> subprocess.CompletedProcess[str]:
    """As PostgreSQL runs its archive_command."""
    command = [sys.executable, "-m", "safepoint.backup.archive.helper", "push", f"pg_wal/{name}", "--socket", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(CODE)}
    return subprocess.run(command, cwd=data.path, env=environment, capture_output=True, text=True, check=False)


def held(repository: Repository) -> dict[str, bytes]:
    """What is stored, by the server's names; ranges by their ends."""
    return {
        Path(piece.name).name.partition(".")[0]: repository.read_wal(piece)
        for piece in repository.wal_pieces(str(CLUSTER))
    }


def test_a_file_that_is_ready_is_acknowledged(data: DataDirectory, directory: Path, repository: Repository) -> None:
    """It is stored before PostgreSQL asks, and asked for again when it does."""
    put_ready(data, FIVE.name, segment_bytes(FIVE))
    with pushing(data, directory / "s", repository) as watcher:
        wait_until(lambda: FIVE.name in held(repository))
        answer = push(data, FIVE.name, directory / "s")

    assert (answer.returncode, answer.stderr) == (0, "")
    assert watcher.names == [FIVE.name]
    assert held(repository) == {FIVE.name: segment_bytes(FIVE)}


def test_what_was_pushed_ahead_and_is_gone_is_stored_again(
    data: DataDirectory, directory: Path, store: Store, repository: Repository
) -> None:
    """Memory acknowledges nothing: a repository that was emptied meanwhile holds the file when `ok` is said."""
    put_ready(data, FIVE.name, segment_bytes(FIVE))
    with pushing(data, directory / "s", repository):
        wait_until(lambda: FIVE.name in held(repository))
        (piece,) = repository.wal_pieces(str(CLUSTER))
        store.delete(piece.name)
        answer = push(data, FIVE.name, directory / "s")

        assert answer.returncode == 0
        assert held(repository) == {FIVE.name: segment_bytes(FIVE)}


def test_other_bytes_than_those_pushed_ahead_are_refused(
    data: DataDirectory, directory: Path, repository: Repository
) -> None:
    """What counts are the bytes of the open file, when it is asked for."""
    path = put_ready(data, FIVE.name, segment_bytes(FIVE))
    with pushing(data, directory / "s", repository):
        wait_until(lambda: FIVE.name in held(repository))
        path.write_bytes(segment_bytes(FIVE, seed=1))
        answer = push(data, FIVE.name, directory / "s")

    assert answer.returncode == 1
    assert "RP007" in answer.stderr
    assert held(repository) == {FIVE.name: segment_bytes(FIVE)}


@pytest.mark.parametrize("spec", [errors.ST001, errors.ST002], ids=["outage", "full disk"])
def test_a_store_that_refuses_is_told_to_postgresql(
    data: DataDirectory, directory: Path, store: Store, repository: Repository, spec: errors.Spec
) -> None:
    """Never success; when it is back, the same file goes in."""
    put_ready(data, FIVE.name, segment_bytes(FIVE))
    store.refusal = spec.error("found no store, expected one")
    with pushing(data, directory / "s", repository) as watcher:
        refused = push(data, FIVE.name, directory / "s")
        assert held(repository) == {}
        store.refusal = None
        taken = push(data, FIVE.name, directory / "s")

    assert (refused.returncode, taken.returncode) == (1, 0)
    assert f"error {spec.code}: found no store, expected one" in refused.stderr
    assert spec.code in watcher.codes
    assert held(repository) == {FIVE.name: segment_bytes(FIVE)}


def test_every_required_repository_must_hold_it(
    data: DataDirectory, directory: Path, store: Store, repository: Repository
) -> None:
    """One of two that is out is an outage."""
    other = make_repository(MemoryStore(), None)
    put_ready(data, FIVE.name, segment_bytes(FIVE))
    store.refusal = errors.ST001.error("found no store, expected one")
    with pushing(data, directory / "s", other, repository):
        refused = push(data, FIVE.name, directory / "s")
        store.refusal = None
        taken = push(data, FIVE.name, directory / "s")

    assert (refused.returncode, taken.returncode) == (1, 0)
    assert held(repository) == held(other) == {FIVE.name: segment_bytes(FIVE)}


def test_files_that_are_not_what_they_say_are_refused(
    data: DataDirectory, directory: Path, repository: Repository
) -> None:
    """Another cluster's segment, a damaged one, a history that is none, a name of nobody's."""
    wanted = {
        FIVE.name: (segment_bytes(FIVE, cluster=42), "WL001"),
        SIX.name: (bytes(MEBIBYTE), "WL007"),
        "00000002.history": (b"what", "WL007"),
        "README": (b"", "WL007"),
        segment(7, timeline=3).name: (segment_bytes(segment(7, timeline=3)), "WL009"),
    }
    with pushing(data, directory / "s", repository):
        for name, (content, _) in wanted.items():
            put_ready(data, name, content)
        answers = {name: push(data, name, directory / "s") for name in wanted}

    assert {name: answer.returncode for name, answer in answers.items()} == dict.fromkeys(wanted, 1)
    for name, (_, code) in wanted.items():
        assert f"error {code}: " in answers[name].stderr
    assert held(repository) == {}


def test_a_file_of_another_directory_is_refused(data: DataDirectory, directory: Path, repository: Repository) -> None:
    """A clone whose configuration, with the socket in it, was copied."""
    clone = make_data_directory(directory / "clone")
    put_ready(clone, FIVE.name, segment_bytes(FIVE))
    with pushing(data, directory / "s", repository):
        missing = push(clone, FIVE.name, directory / "s")
        put_ready(data, FIVE.name, segment_bytes(FIVE))
        other = push(clone, FIVE.name, directory / "s")

    assert (missing.returncode, other.returncode) == (1, 1)
    assert "WL001" in missing.stderr
    assert "WL001" in other.stderr


def test_labels_are_accepted_and_histories_are_stored(
    data: DataDirectory, directory: Path, repository: Repository
) -> None:
    """A backup label says nothing that a manifest does not; a history comes before its segments."""
    content, two = history_bytes((1, FIVE.start + 100)), segment(5, timeline=2)
    put_ready(data, f"{FIVE.name}.00000028.backup", b"START WAL LOCATION")
    put_ready(data, "00000002.history", content)
    put_ready(data, two.name, segment_bytes(two, written_on=1))
    with pushing(data, directory / "s", repository):
        names = (f"{FIVE.name}.00000028.backup", "00000002.history", two.name)
        answers = [push(data, name, directory / "s") for name in names]

    assert [answer.returncode for answer in answers] == [0, 0, 0]
    assert repository.read_history(str(CLUSTER), two.timeline) == content
    assert list(held(repository)) == [two.name]


def test_a_partial_segment_becomes_a_range_up_to_the_switch(
    data: DataDirectory, directory: Path, repository: Repository
) -> None:
    """What the old timeline wrote behind the switch belongs to no history that is kept."""
    switch = FIVE.start + 40_000
    put_ready(data, f"{FIVE.name}.partial", segment_bytes(FIVE))
    with pushing(data, directory / "s", repository):
        early = push(data, f"{FIVE.name}.partial", directory / "s")
        put_ready(data, "00000002.history", history_bytes((1, switch)))
        first, again = (push(data, f"{FIVE.name}.partial", directory / "s") for _ in range(2))

    (piece,) = repository.wal_pieces(str(CLUSTER))
    assert (early.returncode, first.returncode, again.returncode) == (1, 0, 0)
    assert "WL009" in early.stderr
    assert (piece.start, piece.end, piece.is_partial) == (FIVE.start, switch, True)
    assert repository.read_wal(piece) == segment_bytes(FIVE)[:40_000]


def test_a_partial_segment_that_differs_from_what_is_held_is_refused(
    data: DataDirectory, directory: Path, repository: Repository
) -> None:
    """The bytes before the switch are those that everybody has, or it is another server's history."""
    repository.put_wal_range(
        str(CLUSTER), FIVE.timeline, FIVE.start, segment_bytes(FIVE)[:20_000], history=b"", mark=None
    )
    put_ready(data, "00000002.history", history_bytes((1, FIVE.start + 40_000)))
    put_ready(data, f"{FIVE.name}.partial", segment_bytes(FIVE, seed=1))
    with pushing(data, directory / "s", repository):
        refused = push(data, f"{FIVE.name}.partial", directory / "s")
        put_ready(data, f"{FIVE.name}.partial", segment_bytes(FIVE))
        taken = push(data, f"{FIVE.name}.partial", directory / "s")

    assert (refused.returncode, taken.returncode) == (1, 0)
    assert "RP007" in refused.stderr


def test_wal_behind_the_point_where_its_timeline_was_left_is_refused(
    data: DataDirectory, directory: Path, repository: Repository
) -> None:
    """An old primary that went on: what it wrote before the switch is taken, what came after is not."""
    two = segment(6, timeline=2)
    repository.put_history(str(CLUSTER), two.timeline, history_bytes((1, SIX.start + 100)))
    for each in (FIVE, SIX, segment(7)):
        put_ready(data, each.name, segment_bytes(each))
    with pushing(data, directory / "s", repository):
        answers = [push(data, each.name, directory / "s") for each in (FIVE, SIX, segment(7))]

    assert [answer.returncode for answer in answers] == [0, 1, 1]
    assert "WL008" in answers[1].stderr
    assert "pg_rewind" in answers[1].stderr
    assert list(held(repository)) == [FIVE.name]


def test_a_restored_copy_archives_nothing(data: DataDirectory, directory: Path, repository: Repository) -> None:
    """Its settings say that it is one, and what stands last in them counts."""
    settings = data.path / "safepoint.conf"
    settings.write_text("port = '1'\nsafepoint.copy_of = 'shop-2026'\n")
    put_ready(data, FIVE.name, segment_bytes(FIVE))
    with pushing(data, directory / "s", repository):
        refused = push(data, FIVE.name, directory / "s")
        assert copy_of(data.path) == "shop-2026"
        (data.path / "postgresql.auto.conf").write_text("safepoint.copy_of = ''\n")
        taken = push(data, FIVE.name, directory / "s")

    assert (refused.returncode, taken.returncode) == (1, 0)
    assert "WL006" in refused.stderr
    assert "safepoint wal adopt" in refused.stderr


def test_a_directory_that_became_another_clusters_is_refused(
    data: DataDirectory, directory: Path, repository: Repository
) -> None:
    """The pusher serves the cluster that it began with."""
    put_ready(data, FIVE.name, segment_bytes(FIVE))
    with pushing(data, directory / "s", repository):
        (data.path / "global/pg_control").write_bytes((42).to_bytes(8, "little"))
        answer = push(data, FIVE.name, directory / "s")

    assert answer.returncode == 1
    assert "WL001: found cluster 42" in answer.stderr


def test_a_slow_store_keeps_the_helper_waiting_and_told(
    data: DataDirectory, directory: Path, store: Store, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signs of life come meanwhile, and the answer after them."""
    from safepoint.backup.archive import helper  # noqa: PLC0415 - the program, here as a module

    monkeypatch.setattr("safepoint.backup.archive.pusher.WAIT_SECONDS", 0.1)
    monkeypatch.chdir(data.path)
    store.slow_seconds = 0.5
    put_ready(data, FIVE.name, segment_bytes(FIVE))
    with pushing(data, directory / "s", repository):
        answer = helper.ask(Path("pg_wal") / FIVE.name, str(directory / "s"))

    assert answer is not None
    assert answer.startswith(WAIT)
    assert answer.endswith(WAIT + OK)


def test_marks_are_stored_with_segments(data: DataDirectory, repository: Repository) -> None:
    """The newest that lies before the segment's end."""
    from repository_samples import NOON  # noqa: PLC0415 - a moment

    class Marks:
        def up_to(self, end: Lsn) -> Mark | None:
            return mark if end == FIVE.end else None

    mark = Mark(lsn=FIVE.start, clock=NOON)
    archive = WalArchive(data=data, origin=data.origin(), repositories=(repository,), marks=Marks())
    archive.push(FIVE.name, segment_bytes(FIVE))

    (piece,) = repository.wal_pieces(str(CLUSTER))
    assert repository.read_mark(piece) == mark


def test_a_pusher_killed_at_work_has_acknowledged_nothing_that_is_not_held(directory: Path) -> None:
    """SIGKILL while forty segments are asked for, again and again: every success was durable."""
    data = make_data_directory(directory / "data")
    repository = archiving.new_repository(directory)
    names = [segment(number).name for number in range(1, 41)]
    for number, name in enumerate(names, 1):
        put_ready(data, name, segment_bytes(segment(number)))
    code = (
        "import sys; from archiving import *\n"
        f"data = DataDirectory(path=Path({str(data.path)!r}))\n"
        f"archive = WalArchive(data=data, origin=data.origin(), repositories=[reopened(Path({str(directory)!r}))])\n"
        f"Pusher(archive=archive, path=Path({str(directory / 's')!r}), observer=Watcher()).run()\n"
    )
    program = archiving.c_helper(directory)
    acknowledged: list[str] = []
    for round_number in range(4):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
        wait_until((directory / "s").is_socket)
        killer = threading.Timer(0.3 + 0.1 * round_number, process.send_signal, [signal.SIGKILL])
        killer.start()
        while process.poll() is None and len(acknowledged) < len(names):
            name = names[len(acknowledged)]
            command = [program, "push", f"pg_wal/{name}", "--socket", str(directory / "s")]
            if subprocess.run(command, cwd=data.path, stderr=subprocess.DEVNULL, check=False).returncode == 0:
                assert name in held(repository)
                acknowledged.append(name)
        killer.join()
        process.wait()
        (directory / "s").unlink(missing_ok=True)

    assert acknowledged
    assert held(archiving.reopened(directory)).keys() >= set(acknowledged)
