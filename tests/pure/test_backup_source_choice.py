"""Which source a backup reads: the files only where they are certainly those of the server that is asked."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from safepoint import errors
from safepoint.backup.physical_checks import ServerForBackup
from safepoint.backup.sources.choice import choose_source, is_local, look_at, mismatch, require_local
from safepoint.model.backup import BackupSource
from safepoint.model.version import PgVersion
from safepoint.postgres.url import DatabaseUrl

CLUSTER = "7345678901234567890"
STARTED = datetime(2026, 3, 1, 2, 10, tzinfo=UTC)
LOCAL = DatabaseUrl.parse("postgresql://postgres@127.0.0.1:5432/postgres")


def server(data: Path, **changes: object) -> ServerForBackup:
    """A primary that runs on the directory."""
    found = ServerForBackup(
        version=PgVersion(180006),
        is_in_recovery=False,
        has_checksums=True,
        has_hints_in_wal=False,
        block_size=8192,
        segment_blocks=131072,
        summarizes_wal=False,
        data_directory=str(data),
        port=5432,
        started_at=STARTED,
        can_start_backup=True,
        superuser="postgres",
        active_slots=(),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The directory of a primary that runs on port 5432."""
    (tmp_path / "global").mkdir()
    control = struct.pack("<QIIi", int(CLUSTER), 1800, 202506291, 6)
    (tmp_path / "global" / "pg_control").write_bytes(control.ljust(8192, b"\0"))
    began = int((STARTED - timedelta(seconds=1)).timestamp())
    (tmp_path / "postmaster.pid").write_text(f"4711\n{tmp_path}\n{began}\n5432\n/tmp\n\n0 0\nready\n")
    return tmp_path


def test_files_are_read_where_they_are_the_servers_own(data: Path) -> None:
    """The strategy names the directory, and all that can be compared is equal."""
    choice = choose_source(None, LOCAL, server(data), CLUSTER, data)

    assert (choice.source, choice.data) == (BackupSource.FILES, data)
    assert str(data) in choice.reason


def test_without_a_directory_in_the_strategy_the_server_sends_them(data: Path) -> None:
    """And the reason is said."""
    choice = choose_source(None, LOCAL, server(data), CLUSTER, None)

    assert choice.source is BackupSource.STREAM
    assert "names no data directory" in choice.reason


def test_what_is_asked_for_is_taken(data: Path) -> None:
    """The stream always; files also where only the server names their directory."""
    assert choose_source(BackupSource.STREAM, LOCAL, server(data), CLUSTER, data).source is BackupSource.STREAM
    choice = choose_source(BackupSource.FILES, LOCAL, server(data), CLUSTER, None)
    assert (choice.source, choice.data) == (BackupSource.FILES, data)


MISMATCHES = {
    "another cluster": ({}, "1", "files of cluster 7345678901234567890"),
    "a standby's files, a primary asked": ({"is_in_recovery": True}, CLUSTER, "state 6"),
    "another port": ({"port": 5433}, CLUSTER, "port 5432"),
    "another start": ({"started_at": STARTED + timedelta(hours=1)}, CLUSTER, "started at 2026-03-01 02:09:59"),
    "another directory": ({"data_directory": "/"}, CLUSTER, "the server to run on /"),
    "no right to know": ({"data_directory": None}, CLUSTER, "may not know"),
    "no right to begin": ({"can_start_backup": False}, CLUSTER, "pg_backup_start"),
}


@pytest.mark.parametrize("case", MISMATCHES, ids=str)
def test_files_that_are_not_the_servers_are_never_read(data: Path, case: str) -> None:
    """Unasked, the stream is taken and the reason said; asked for, they are refused with it: BK008."""
    changes, cluster, found = MISMATCHES[case]
    asked = server(data, **changes)

    choice = choose_source(None, LOCAL, asked, cluster, data)

    assert choice.source is BackupSource.STREAM
    assert found in choice.reason
    with pytest.raises(errors.Misconfigured, match=found) as caught:
        require_local(LOCAL, asked, cluster, data)
    assert caught.value.spec is errors.BK008


def test_a_server_elsewhere_is_never_read_here(data: Path) -> None:
    """Though a directory of the same name is here."""
    url = DatabaseUrl.parse("postgresql://postgres@db1.example/postgres")
    assert choose_source(None, url, server(data), CLUSTER, data).source is BackupSource.STREAM


@pytest.mark.parametrize("lost", ["postmaster.pid", "global/pg_control"])
def test_a_directory_without_a_server_is_none(data: Path, lost: str) -> None:
    """Nobody runs there, or it is no data directory."""
    (data / lost).unlink()

    assert choose_source(None, LOCAL, server(data), CLUSTER, data).source is BackupSource.STREAM


def test_a_control_file_that_is_cut_short_is_no_answer(data: Path) -> None:
    """Half a number is none."""
    (data / "global" / "pg_control").write_bytes(b"\1\2\3")
    with pytest.raises(OSError, match="3 bytes"):
        look_at(data)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_directory_that_may_not_be_read_is_said(data: Path) -> None:
    """With the file."""
    (data / "postmaster.pid").chmod(0)
    assert "postmaster.pid unreadable" in choose_source(None, LOCAL, server(data), CLUSTER, data).reason


def test_a_standby_is_matched_with_a_standbys_files(data: Path) -> None:
    """State 5 of pg_control: in archive recovery."""
    local = replace(look_at(data), state=5)
    assert mismatch(local, server(data, is_in_recovery=True), CLUSTER) is None
    assert mismatch(local, server(data), CLUSTER) is not None


@pytest.mark.parametrize(
    ("host", "expected"),
    [("/run/postgresql", True), ("127.0.0.2", True), ("::1", True), ("localhost", True), ("10.0.0.1", False)],
)
def test_which_hosts_are_this_machine(host: str, expected: bool) -> None:
    """Sockets and loopback addresses."""
    assert is_local(DatabaseUrl.of(host=host, dbname="x")) is expected
