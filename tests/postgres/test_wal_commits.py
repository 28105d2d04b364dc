"""Commits found in WAL, against what pg_waldump says of the same files."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import servers
from safepoint.kernel import CommitSpan, compiled, plain
from safepoint.kernel.shapes import Bytes
from safepoint.model.lsn import Lsn
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import Cluster, make_cluster, remove_cluster, start
from safepoint.postgres.connect import connect
from safepoint.postgres.programs import run_program

MEBIBYTE = 1 << 20
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
SETTINGS = {"wal_level": "logical", "max_prepared_transactions": "10", "wal_keep_size": "1GB", "fsync": "off"}
_RECORD = re.compile(r"rmgr: (\S+).*rec/tot\):\s*\d+/\s*(\d+),.* lsn: (\S+), prev .* desc: (\S+)")
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d \S+) UTC")

Scan = Callable[[Bytes, int], CommitSpan | None]


@dataclass(frozen=True, slots=True)
class Dumped:
    """A record as pg_waldump has it: [start, end) and, of a commit, its time in microseconds."""

    start: int
    end: int
    time: int | None


@dataclass(frozen=True, slots=True)
class Written:
    """The whole segments of a server, what pg_waldump says of them, and bytes a segment."""

    segments: tuple[tuple[int, bytes], ...]
    records: tuple[Dumped, ...]
    size: int

    def expected(self, start: int, end: int) -> CommitSpan | None:
        """Of the records that lie whole in [start, end)."""
        commits = [each for each in self.records if start <= each.start and each.end <= end and each.time is not None]
        times = [each.time for each in commits if each.time is not None]
        if not commits:
            return None
        return CommitSpan(len(commits), commits[0].end, times[0], commits[-1].end, times[-1], max(times))


@pytest.fixture(scope="module")
def written(major: int) -> Generator[Written]:
    """WAL with everything in it that a walk may stumble over, in segments of 1 MiB."""
    with servers.server_directory() as root, _serving(root, major) as cluster:
        _write(cluster)
        yield _dumped(cluster)


@contextmanager
def _serving(root: Path, major: int) -> Generator[Cluster]:
    cluster = make_cluster(root / "data", find_binaries(major), settings={**servers.SMALL, **SETTINGS}, sync=False)
    try:
        # The catalogs stay as initdb left them, so that there is nothing to lose.
        program = cluster.binaries.program("pg_resetwal")
        run_program(cluster.user, [program, "--wal-segsize=1", "-D", cluster.data])
        start(cluster)
        yield cluster
    finally:
        remove_cluster(cluster)


@pytest.fixture(params=["compiled", "plain"])
def scan(request: pytest.FixtureRequest) -> Scan:
    """Each implementation."""
    if request.param == "plain":
        return plain.FUNCTIONS.commits
    functions = compiled.load()
    if functions is None:
        pytest.skip("no compiled kernel; enable with: apt-get install gcc libc6-dev, then install again")
    return functions.commits


@pytest.mark.pg("!= 16")
def test_commits_of_every_segment_are_those_of_pg_waldump(written: Written, scan: Scan) -> None:
    """Subtransactions, prepared ones, records over many pages, switches, logical messages, aborts."""
    found = [scan(_bytes(content), start) for start, content in written.segments]

    assert found == [written.expected(start, start + written.size) for start, _ in written.segments]
    assert sum(span is not None for span in found) >= 3
    assert sum(span is None for span in found) >= 3, "segments within one record, and behind a switch"


@pytest.mark.pg("!= 16")
def test_whole_wal_in_one_piece_has_all_commits(written: Written, scan: Scan) -> None:
    """Those over the boundary of segments, too."""
    start, content = written.segments[0][0], b"".join(content for _, content in written.segments)

    span = scan(_bytes(content), start)

    assert span == written.expected(start, start + len(content))
    assert span is not None
    assert span.count > 200


@pytest.mark.pg("!= 16")
def test_a_range_has_the_commits_from_its_first_page_boundary_on(written: Written, scan: Scan) -> None:
    """Wherever it begins and ends; what is found never lies outside, and is never another commit."""
    start, content = written.segments[0][0], b"".join(content for _, content in written.segments)
    for at in range(start, start + len(content), 77_773 * 8):
        end = min(at + 40_008, start + len(content))
        boundary = at + -at % 8192
        span = scan(_bytes(content[at - start : end - start]), at)

        assert span == written.expected(boundary, end)


@pytest.mark.pg("!= 16")
def test_a_damaged_commit_is_none(written: Written, scan: Scan) -> None:
    """Its CRC says so; those around it are found."""
    start, content = written.segments[0][0], bytearray(b"".join(content for _, content in written.segments))
    commits = [each for each in written.records if each.time is not None]
    content[commits[-1].end - 17 - start] ^= 1

    span = scan(_bytes(bytes(content)), start)

    assert span is not None
    assert span.last_end == commits[-2].end
    assert span.count == len(commits) - 1


def _bytes(content: bytes) -> Bytes:
    return np.frombuffer(content, np.uint8)


def _write(cluster: Cluster) -> None:
    with connect(cluster.url()) as connection:
        connection.execute("CREATE TABLE rows (id bigint)")
        for number in range(200):
            connection.execute("INSERT INTO rows VALUES (%s)", [number])
        _with_subtransactions(cluster)
        connection.execute("SELECT pg_logical_emit_message(true, 'big', repeat('x', 3500000))")
        connection.execute("SELECT pg_switch_wal()")
        connection.execute("SELECT pg_logical_emit_message(false, 'small', 'x')")
        connection.execute("SELECT pg_switch_wal()")
        for number in range(20):
            connection.execute("BEGIN")
            connection.execute("INSERT INTO rows VALUES (1)")
            connection.execute("PREPARE TRANSACTION 'one'" if number % 2 else "ROLLBACK")
            if number % 2:
                connection.execute("COMMIT PREPARED 'one'" if number % 4 == 1 else "ROLLBACK PREPARED 'one'")
        connection.execute(
            "DO $$ BEGIN FOR i IN 1..600 LOOP EXECUTE format('CREATE TABLE t%s (a text)', i); END LOOP; END $$"
        )
        connection.execute("DO $$ BEGIN FOR i IN 1..600 LOOP EXECUTE format('DROP TABLE t%s', i); END LOOP; END $$")
        connection.execute("CREATE TABLE last AS SELECT 1")
        connection.execute("SELECT pg_switch_wal()")


def _with_subtransactions(cluster: Cluster) -> None:
    """Thousands in one: the record of their commit goes over pages."""
    with connect(cluster.url()) as connection:
        connection.execute(
            "DO $$ BEGIN FOR i IN 1..8000 LOOP BEGIN INSERT INTO rows VALUES (i); EXCEPTION WHEN division_by_zero THEN "
            "NULL; END; END LOOP; END $$"
        )


def _dumped(cluster: Cluster) -> Written:
    with connect(cluster.url()) as connection:
        row = connection.execute("SELECT pg_walfile_name(pg_current_wal_lsn())").fetchone()
        assert row is not None
        size = connection.execute("SELECT setting::int FROM pg_settings WHERE name = 'wal_segment_size'").fetchone()
    folder = cluster.data / "pg_wal"
    names = sorted(path.name for path in folder.iterdir() if len(path.name) == 24 and path.name < row[0])
    assert size is not None
    contents = tuple((_start(name, size[0]), (folder / name).read_bytes()) for name in names)
    return Written(segments=contents, records=_records(cluster, folder, names), size=size[0])


def _records(cluster: Cluster, folder: Path, names: Sequence[str]) -> tuple[Dumped, ...]:
    dump = subprocess.run(
        [cluster.binaries.program("pg_waldump"), names[0], names[-1]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,  # it ends where the files end, and says so
        env={**os.environ, "TZ": "UTC"},
    )
    found: list[Dumped] = []
    for line in dump.stdout.splitlines():
        match = _RECORD.search(line)
        if match is None:
            continue
        start = Lsn.parse(match[3]).value
        time = _time_of(line) if match[1] == "Transaction" and match[4] in {"COMMIT", "COMMIT_PREPARED"} else None
        found.append(Dumped(start, _end(start, int(match[2])), time))
    return tuple(found)


def _time_of(line: str) -> int:
    text = _INSTANT.search(line)
    assert text is not None, line
    return (datetime.fromisoformat(f"{text[1]}+00:00") - EPOCH) // timedelta(microseconds=1)


def _end(start: int, length: int) -> int:
    """Where a record of that length ends: page headers lie in it, long ones where a segment begins."""
    at, left = start, length
    while left > (room := 8192 - at % 8192):
        left -= room
        at += room
        at += 40 if at % MEBIBYTE == 0 else 24
    return at + left + -(at + left) % 8


def _start(name: str, size: int) -> int:
    return (int(name[8:16], 16) << 32) + int(name[16:], 16) * size
