"""Measurements of WAL: pushed by an archive_command, streamed beside pgbench, replayed from the repository."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import psycopg

from bench import clusters
from bench.clusters import Wal, pgbench
from bench.commands import MissingTool
from bench.data import binaries_like
from bench.measure import in_child, settle, warm
from bench.peers import pgbackrest
from bench.project import DATABASE, Project, new_project, program
from bench.servers import LIVE
from safepoint.model.lsn import Lsn
from safepoint.postgres.cluster import Cluster, adopt_cluster, make_cluster, remove_cluster, running, start, stop
from safepoint.postgres.connect import connect
from safepoint.postgres.run_directory import free_port, make_run_directory
from safepoint.postgres.server_user import server_user
from safepoint.postgres.settings import FILE_NAME, write_settings
from safepoint.postgres.url import DatabaseUrl

ALONE: Final = 8
"""Segments that are pushed one by one, without anybody who works ahead."""

STREAM_SECONDS: Final = 20
STREAM_CLIENTS: Final = 8

_STREAM_SCALE = 30
_SAMPLE_SECONDS = 0.2
_PATIENCE_SECONDS = 60.0
_MOST_ROUNDS = 3
_UNSPOKEN = "postgresql://postgres@/postgres?host=/nonexistent"
_PLACES = ("port", "unix_socket_directories", "listen_addresses", "safepoint.copy_of")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """How far the repository was behind the server's WAL on disk, in seconds, at regular moments; and the load."""

    seconds: tuple[float, ...]
    wal_bytes: int
    run_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Seconds from the server's start to the pinned end, ours and theirs, of so many bytes of WAL."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    bytes: int


class WalWork:
    """What is measured on the WAL of `bench.clusters`; `work` is emptied by whoever owns it."""

    def __init__(self, scratch: Path, work: Path, *, rounds: int, say: Callable[[str], None]) -> None:
        self._scratch = scratch
        self._work = work
        self._rounds = min(rounds, _MOST_ROUNDS)
        self._say = say

    @cached_property
    def wal(self) -> Wal:
        """The segments, in the page cache."""
        found = clusters.wal(self._scratch, self._say)
        warm(found.paths())
        return found

    @cached_property
    def drained(self) -> Mapping[str, tuple[float, ...]]:
        """Seconds that a backlog of all segments took through archive_command, one after the other."""
        self._say(f"archive_command, a backlog of {clusters.SEGMENTS} | pgBackRest, asynchronous")
        return self._in_turn({"pgBackRest": self._their_backlog, "safepoint": self._our_backlog})

    @cached_property
    def pushed(self) -> Mapping[str, tuple[float, ...]]:
        """Seconds that some segments took, each by a process that does all of the work itself."""
        self._say(f"archive_command, {ALONE} segments with nobody ahead | pgBackRest, synchronous")
        return self._in_turn({"pgBackRest": self._their_pushes, "safepoint": self._our_pushes})

    @cached_property
    def streamed(self) -> Behind:
        """The receiver beside pgbench at full speed on one machine."""
        self._say(f"WAL streamed beside pgbench, {STREAM_SECONDS} s")
        data = self._empty("streamed") / "data"
        self._work.chmod(0o755)
        cluster = make_cluster(data, binaries_like(), settings=LIVE)
        try:
            with running(cluster):
                return self._stream(cluster)
        finally:
            remove_cluster(cluster)

    @cached_property
    def replayed(self) -> Replayed:
        """All segments replayed onto the base backup: from a repository, and by `cp` from a folder."""
        self._say("replay of 2 GB | restore_command = cp")
        project = new_project(self._empty("replayed") / "project", DatabaseUrl.parse(_UNSPOKEN), self.wal.base)
        in_child(
            "wal-repository",
            repository=project.store,
            base=self.wal.base,
            cluster=self.wal.system_identifier,
            segments=[str(path) for path in self.wal.paths()],
        )
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(self._rounds):
            seconds, end, settings = self._our_replay(project)
            ours.append(seconds)
            theirs.append(self._their_replay(end, settings))
        return Replayed(ours=tuple(ours), theirs=tuple(theirs), bytes=clusters.SEGMENTS * clusters.SEGMENT_BYTES)

    def _in_turn(self, work: Mapping[str, Callable[[], float]]) -> Mapping[str, tuple[float, ...]]:
        if pgbackrest.version() is None:
            work = {name: do for name, do in work.items() if name != "pgBackRest"}
        rounds = [{name: do() for name, do in work.items()} for _ in range(self._rounds)]
        return {name: tuple(found[name] for found in rounds) for name in work}

    def _our_backlog(self) -> float:
        data = self._data_directory()
        project = self._project(data)
        with _pushing(project) as command:
            return _archived(data, self._backlog(data), command, project.environment)

    def _our_pushes(self) -> float:
        data = self._data_directory()
        project = self._project(data)
        command = _archive_command(project)
        return _archived(data, self._backlog(data, ALONE), command, project.environment)

    def _their_backlog(self) -> float:
        data = self._data_directory()
        peer = pgbackrest.for_archive(self._work / "pgbackrest-wal", data, is_async=True)
        return _archived(data, self._backlog(data), f"{' '.join(peer.argv('archive-push'))} %p", {})

    def _their_pushes(self) -> float:
        data = self._data_directory()
        peer = pgbackrest.for_archive(self._work / "pgbackrest-wal", data, is_async=False)
        return _archived(data, self._backlog(data, ALONE), f"{' '.join(peer.argv('archive-push'))} %p", {})

    def _project(self, data: Path) -> Project:
        return new_project(self._work / "archiving-project", DatabaseUrl.parse(_UNSPOKEN), data)

    def _data_directory(self) -> Path:
        """As much of a data directory as those who archive look at, with all segments and none of them ready."""
        data = self._empty("archiving") / "data"
        shutil.copytree(self.wal.base, data, ignore=shutil.ignore_patterns("[1-9]*", "pg_wal"))
        (data / "pg_wal/archive_status").mkdir(parents=True)
        for path in self.wal.paths():
            os.link(path, data / "pg_wal" / path.name)
        return data

    def _backlog(self, data: Path, count: int = clusters.SEGMENTS) -> Sequence[str]:
        """The first segments are ready to be archived, all at once."""
        for name in self.wal.segments[:count]:
            (data / "pg_wal/archive_status" / f"{name}.ready").touch()
        return self.wal.segments[:count]

    def _stream(self, cluster: Cluster) -> Behind:
        url = cluster.url()
        pgbench(url, cluster.binaries, "-i", "-q", "-s", str(_STREAM_SCALE))
        project = new_project(self._work / "streamed/project", url, cluster.data)
        project.backup("--source", "files")
        settle()
        with _receiving(project, url):
            load = threading.Thread(target=_load, args=(url, cluster))
            load.start()
            try:
                return _sampled(url, load)
            finally:
                load.join()

    def _our_replay(self, project: Project) -> tuple[float, Lsn, str]:
        """Seconds of the step that starts the server and replays; where it ended; the settings it ran with."""
        into = self._empty("replayed/ours") / "data"
        settle()
        options = ("--to", "latest", "--into", into, "--no-promote", "--json")
        told = json.loads(project.safepoint("restore", DATABASE, *options).facts["said"])
        settings = (into / FILE_NAME).read_text()
        stop(adopt_cluster(into, binaries_like()))
        shutil.rmtree(into)
        return float(told["seconds"]["recover"]), Lsn.parse(told["replayed"]), settings

    def _their_replay(self, end: Lsn, settings: str) -> float:
        """Seconds from the start of a server on a copy of the base backup until it has replayed up to `end`."""
        data = self._empty("replayed/theirs") / "data"
        shutil.copytree(self.wal.base, data)
        binaries = binaries_like()
        user = server_user(data, binaries)
        cluster = adopt_cluster(data, binaries, socket_directory=make_run_directory(data, user), port=free_port())
        write_settings(data, _settings_of(settings) | {"restore_command": f"cp {self.wal.folder}/segments/%f %p"})
        # A standby: a target at the very end of the WAL would count as missed, and stop the server.
        (data / "standby.signal").touch()
        user.own(data)
        settle()
        try:
            began = time.perf_counter()
            start(cluster, timeout=_PATIENCE_SECONDS)
            _wait_until(lambda: _replayed(cluster.url()) >= end, 10 * _PATIENCE_SECONDS)
            return time.perf_counter() - began
        finally:
            remove_cluster(cluster)

    def _empty(self, name: str) -> Path:
        folder = self._work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for directory in (folder, *folder.parents[: len(Path(name).parts)]):
            directory.chmod(0o755)
        return folder


def percentile_95(values: Sequence[float]) -> float:
    """The value that 95 of 100 of them do not exceed."""
    return sorted(values)[min(int(0.95 * len(values)), len(values) - 1)]


def _archive_command(project: Project) -> str:
    """The command that safepoint prints for postgresql.conf; MissingTool when what it calls is not installed."""
    line = str(project.safepoint("wal", "archive", DATABASE, "--print-command").facts["said"])
    command = line.partition(" = '")[2].rstrip().removesuffix("'").replace("''", "'")
    helper = shlex.split(command)[0]
    if shutil.which(helper) is None:
        raise MissingTool(f"found no {helper} beside {sys.executable}; install: pip install .")
    return command


@contextmanager
def _pushing(project: Project) -> Generator[str]:
    """A pusher is at work inside the context; the archive_command that finds it."""
    command = _archive_command(project)
    with _beside(project, "wal", "archive", DATABASE) as talk:
        _wait_until(lambda: "listening" in talk.read_text(), _PATIENCE_SECONDS)
        yield command


@contextmanager
def _receiving(project: Project, url: DatabaseUrl) -> Generator[None]:
    """A receiver holds its slot inside the context."""
    with _beside(project, "wal", "stream", DATABASE):
        _wait_until(lambda: _flushed(url) is not None, _PATIENCE_SECONDS)
        yield


@contextmanager
def _beside(project: Project, *arguments: str) -> Generator[Path]:
    """The command runs inside the context and is interrupted after it; the file with what it says on stderr."""
    talk = project.folder / "talk"
    with talk.open("w") as said:
        process = subprocess.Popen(
            [program("safepoint"), *arguments],
            env={**os.environ, **project.environment},
            cwd=project.folder,
            stdout=said,
            stderr=said,
        )
        try:
            yield talk
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(_PATIENCE_SECONDS)


def _archived(data: Path, names: Sequence[str], command: str, environment: Mapping[str, str]) -> float:
    """Seconds in which the command was run for each, in order, as PostgreSQL's archiver does: by a shell, in `data`."""
    status = data / "pg_wal/archive_status"
    surroundings = {**os.environ, **environment}
    settle()
    began = time.perf_counter()
    for name in names:
        line = command.replace("%p", f"pg_wal/{name}").replace("%f", name)
        subprocess.run(["sh", "-c", line], cwd=data, env=surroundings, check=True, stdout=subprocess.DEVNULL)
        (status / f"{name}.ready").rename(status / f"{name}.done")
    return time.perf_counter() - began


def _load(url: DatabaseUrl, cluster: Cluster) -> None:
    pgbench(url, cluster.binaries, "-n", "-c", str(STREAM_CLIENTS), "-j", "2", "-T", str(STREAM_SECONDS))


def _sampled(url: DatabaseUrl, load: threading.Thread) -> Behind:
    """While the load runs. A sample is behind by the age of the moment at which the server's WAL ended there."""
    seen: list[tuple[float, Lsn]] = []
    behind: list[float] = []
    with connect(url) as connection:
        while load.is_alive():
            flushed, durable = _positions(connection)
            now = time.monotonic()
            seen.append((now, flushed))
            behind.append(now - _instant_of(seen, durable))
            time.sleep(_SAMPLE_SECONDS)
    return Behind(seconds=tuple(behind), wal_bytes=seen[-1][1] - seen[0][1], run_seconds=seen[-1][0] - seen[0][0])


def _instant_of(seen: Sequence[tuple[float, Lsn]], durable: Lsn) -> float:
    """When the server's WAL ended at `durable`, between two samples; the first sample's where it was before them."""
    for (early, low), (late, high) in zip(reversed(seen[:-1]), reversed(seen[1:]), strict=False):
        if durable >= high:
            return late
        if durable >= low:
            return early + (late - early) * (durable - low) / max(high - low, 1)
    return seen[0][0]


def _positions(connection: psycopg.Connection) -> tuple[Lsn, Lsn]:
    """The end of the server's WAL on disk, and how much of it the receiver has reported as durable."""
    row = connection.execute(
        "SELECT pg_current_wal_flush_lsn(), coalesce(max(flush_lsn), '0/0') FROM pg_stat_replication"
    ).fetchone()
    if row is None:
        raise LookupError("found no row, expected one")
    return Lsn.parse(str(row[0])), Lsn.parse(str(row[1]))


def _flushed(url: DatabaseUrl) -> Lsn | None:
    with connect(url) as connection:
        row = connection.execute("SELECT max(flush_lsn) FROM pg_stat_replication").fetchone()
    return None if row is None or row[0] is None else Lsn.parse(str(row[0]))


def _replayed(url: DatabaseUrl) -> Lsn:
    with connect(url) as connection:
        row = connection.execute("SELECT coalesce(pg_last_wal_replay_lsn(), '0/0')").fetchone()
    return Lsn(0) if row is None else Lsn.parse(str(row[0]))


def _settings_of(text: str) -> dict[str, str]:
    """What our copy ran with, less where it listened and whose copy it was."""
    pairs = (line.partition(" = ") for line in text.splitlines() if " = " in line and not line.startswith("#"))
    return {name: value.strip("'") for name, _, value in pairs if name not in _PLACES}


def _wait_until(is_true: Callable[[], bool], seconds: float) -> None:
    """It became true within so many seconds; TimeoutError."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"found nothing after {seconds:.0f} s, expected a change")
        time.sleep(0.05)
