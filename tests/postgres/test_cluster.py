"""Clusters made, adopted, started, stopped, promoted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from safepoint.errors import SafepointError, Unreachable
from safepoint.postgres.binaries import Binaries, find_binaries
from safepoint.postgres.cluster import (
    Cluster,
    adopt_cluster,
    is_running,
    make_cluster,
    private_hba,
    promote,
    remove_cluster,
    running,
    start,
    stop,
)
from safepoint.postgres.connect import connect
from safepoint.postgres.pid_file import live_pid_file


@pytest.fixture
def binaries(major: int) -> Binaries:
    return find_binaries(major)


def scalar(cluster: Cluster, query: str) -> object:
    with connect(cluster.url()) as connection:
        row = connection.execute(query.encode()).fetchone()
        return None if row is None else row[0]


def must_not_run(cluster: Cluster) -> None:
    assert not is_running(cluster)
    with pytest.raises(SafepointError, match="PG004"):
        connect(cluster.url())


def test_server_runs_inside_the_context_only(server_root: Path, binaries: Binaries) -> None:
    """A made cluster serves its own major with checksums and UTF-8, and is down after the context."""
    with running(make_cluster(server_root / "data", binaries, sync=False)) as cluster:
        assert str(scalar(cluster, "SHOW server_version")).startswith(f"{binaries.version.major}.")
        assert scalar(cluster, "SHOW data_checksums") == "on"
        assert scalar(cluster, "SHOW server_encoding") == "UTF8"
    must_not_run(cluster)


def test_files_belong_to_the_server_user_alone(server: Cluster) -> None:
    """Nobody else may enter the data or the run directory, and the user owns every file."""
    assert server.data.stat().st_mode & 0o777 == 0o700
    assert server.socket_directory.stat().st_mode & 0o777 == 0o700
    paths = [server.data, *server.data.rglob("*"), server.socket_directory, *server.socket_directory.iterdir()]
    assert {path.lstat().st_uid for path in paths} == {server.user.uid}


def test_server_does_not_run_as_root(server: Cluster) -> None:
    """The running process has another user, or root under another name in a namespace of its own."""
    live = live_pid_file(server.data)
    assert live is not None
    uid = Path(f"/proc/{live.pid}").stat().st_uid
    assert uid == server.user.uid
    assert uid != 0 or server.user.kind.value == "namespace"


def test_checksums_can_be_declined(server_root: Path, binaries: Binaries) -> None:
    """Without checksums means without, also from 18 on, where they are the default."""
    with running(make_cluster(server_root / "data", binaries, checksums=False, sync=False)) as cluster:
        assert scalar(cluster, "SHOW data_checksums") == "off"


def test_settings_arrive_whatever_they_hold(server_root: Path, binaries: Binaries) -> None:
    """Quotes, backslashes, dollars and spaces survive the file; a start's own settings win over it."""
    awkward = r"""echo 'it''s' "$HOME" \ 100% `x` #"""
    cluster = make_cluster(
        server_root / "data", binaries, settings={"restore_command": awkward, "work_mem": "1MB"}, sync=False
    )
    with running(cluster, settings={"work_mem": "3MB", "archive_cleanup_command": awkward}):
        assert scalar(cluster, "SHOW restore_command") == awkward
        assert scalar(cluster, "SHOW archive_cleanup_command") == awkward
        assert scalar(cluster, "SHOW work_mem") == "3MB"


@pytest.mark.pg("== 17")
def test_listening_on_tcp_wants_a_password(server_root: Path, binaries: Binaries) -> None:
    """On the loopback interface nobody is trusted; with a password one is let in."""
    with running(make_cluster(server_root / "data", binaries, listen_tcp=True, sync=False)) as cluster:
        tcp = cluster.url().with_parameters(host="127.0.0.1")
        with pytest.raises(SafepointError, match="PG007"):
            connect(tcp)
        scalar(cluster, "SELECT set_config('password_encryption', 'scram-sha-256', false)")
        with connect(cluster.url()) as connection:
            connection.execute("ALTER ROLE postgres PASSWORD 'open'")
        with connect(tcp.with_parameters(password="open")) as connection:
            assert connection.info.host == "127.0.0.1"


@pytest.mark.pg("== 17")
def test_nothing_listens_on_tcp_unasked(server: Cluster) -> None:
    """By default a server is reached through its socket only."""
    assert scalar(server, "SHOW listen_addresses") == ""


@pytest.mark.pg("== 17")
def test_long_path_gets_a_short_socket(server_root: Path, binaries: Binaries) -> None:
    """A path beyond what a socket may have puts the run directory elsewhere, and removal finds it."""
    data = server_root / ("deep" * 12) / ("deeper" * 9) / "data"
    cluster = make_cluster(data, binaries, sync=False)
    with running(cluster):
        assert scalar(cluster, "SELECT 1") == 1
    assert adopt_cluster(data, binaries) == cluster
    remove_cluster(cluster)
    assert not cluster.socket_directory.exists()


def test_adopting_a_running_server_finds_where_it_listens(server: Cluster) -> None:
    """Port and socket of a running server are its own words."""
    assert adopt_cluster(server.data, server.binaries) == server


@pytest.mark.pg("== 17")
def test_adopting_a_stopped_cluster_keeps_its_address(server_root: Path, binaries: Binaries) -> None:
    """A cluster of ours has the same URL after a stop, in another process, too."""
    cluster = make_cluster(server_root / "data", binaries, sync=False)
    assert adopt_cluster(cluster.data, binaries) == cluster


@pytest.mark.pg("== 17")
def test_a_copy_listens_elsewhere(server_root: Path, binaries: Binaries) -> None:
    """A copied cluster, owned by root, serves beside the original, whose address it does not take."""
    original = make_cluster(server_root / "data", binaries, sync=False)
    shutil.copytree(original.data, server_root / "copy")
    copy = adopt_cluster(server_root / "copy", binaries)
    with running(original), running(copy):
        assert copy.socket_directory != original.socket_directory
        assert scalar(copy, "SHOW data_directory") == str(server_root / "copy")


@pytest.mark.pg("== 17")
def test_a_copy_that_shuts_us_out_serves_with_our_own_hba(server_root: Path, binaries: Binaries) -> None:
    """With `private_hba` the rules of the original, which may trust nobody, do not matter."""
    cluster = make_cluster(server_root / "data", binaries, sync=False)
    (cluster.data / "pg_hba.conf").write_text("local all all reject\n")
    with running(cluster, settings={"hba_file": str(private_hba(cluster))}):
        assert scalar(cluster, "SELECT 1") == 1


@pytest.mark.parametrize("content", ["file", "directory"])
@pytest.mark.pg("== 17")
def test_a_directory_in_use_is_not_made_a_cluster(server_root: Path, binaries: Binaries, content: str) -> None:
    """What lies in the way stays untouched."""
    data = server_root / "data"
    if content == "file":
        data.write_text("mine")
    else:
        data.mkdir()
        (data / "mine").touch()
    with pytest.raises(SafepointError, match=r"PG002: .* expected an absent or empty directory"):
        make_cluster(data, binaries)
    assert data.read_text() == "mine" if content == "file" else [path.name for path in data.iterdir()] == ["mine"]


@pytest.mark.pg("== 17")
def test_a_place_that_cannot_be_written_is_refused(binaries: Binaries) -> None:
    """A directory that cannot be made is PG002 with the system's reason."""
    with pytest.raises(SafepointError, match=r"PG002: found that no cluster can be made in /proc/data \("):
        make_cluster(Path("/proc/data"), binaries)


@pytest.mark.pg("== 17")
def test_a_failed_making_leaves_nothing(server_root: Path, binaries: Binaries) -> None:
    """A setting that cannot be written undoes the cluster, its run directory included."""
    with pytest.raises(SafepointError, match="PG010"):
        make_cluster(server_root / "data", binaries, settings={"no such": "name"}, sync=False)
    assert list(server_root.iterdir()) == []


@pytest.mark.pg("== 17")
def test_second_start_is_refused(server: Cluster) -> None:
    """A directory in use is PG002, and the server in it is left alone."""
    with pytest.raises(SafepointError, match=f"PG002: found a server running on {server.data}"):
        start(server)
    assert is_running(server)


@pytest.mark.pg("== 17")
def test_another_major_is_refused_by_both_numbers(server_root: Path, binaries: Binaries) -> None:
    """A data directory of another major is never started."""
    cluster = make_cluster(server_root / "data", binaries, sync=False)
    (cluster.data / "PG_VERSION").write_text("16\n")
    for attempt in (lambda: start(cluster), lambda: adopt_cluster(cluster.data, binaries)):
        with pytest.raises(SafepointError, match=r"PG002: found a data directory of PostgreSQL 16 .* expected 17"):
            attempt()


@pytest.mark.pg("== 17")
def test_no_data_directory_is_refused(server_root: Path, binaries: Binaries) -> None:
    """A directory without PG_VERSION is none."""
    with pytest.raises(SafepointError, match="PG002: found no PG_VERSION"):
        adopt_cluster(server_root, binaries)


@pytest.mark.pg("== 17")
def test_failed_start_tells_the_log(server_root: Path, binaries: Binaries) -> None:
    """PG003 carries what the server itself said, of this start only, and nothing runs."""
    cluster = make_cluster(server_root / "data", binaries, sync=False)
    for value in ("first", "second"):
        with pytest.raises(SafepointError) as caught:
            start(cluster, settings={"shared_buffers": value})
    assert caught.value.spec.code == "PG003"
    assert 'invalid value for parameter "shared_buffers": "second"' in caught.value.message
    assert '"first"' not in caught.value.message
    must_not_run(cluster)


@pytest.mark.pg("== 17")
def test_start_that_takes_too_long_leaves_no_server(server_root: Path, binaries: Binaries) -> None:
    """When recovery does not get ready in time the server is stopped again."""
    cluster = make_cluster(server_root / "data", binaries, sync=False)
    (cluster.data / "recovery.signal").touch()
    with pytest.raises(SafepointError, match="PG003"):
        start(cluster, settings={"restore_command": "sleep 60"}, timeout=1)
    must_not_run(cluster)


@pytest.mark.pg("== 17")
def test_interrupted_start_leaves_no_server(server_root: Path, binaries: Binaries) -> None:
    """Ctrl-C during a start, before the server is ready, leaves none behind."""
    cluster = make_cluster(server_root / "data", binaries, sync=False)
    (cluster.data / "recovery.signal").touch()
    code = (
        "import sys; from pathlib import Path; from safepoint.postgres.cluster import *;"
        "from safepoint.postgres.binaries import find_binaries;"
        "cluster = adopt_cluster(Path(sys.argv[1]), find_binaries(17)); print('starting', flush=True);"
        "start(cluster, settings={'restore_command': 'sleep 60'})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(cluster.data)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "starting\n"
    wait_until(lambda: is_running(cluster))
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]
    must_not_run(cluster)


@pytest.mark.pg("== 17")
def test_failure_inside_the_context_stops_the_server(server_root: Path, binaries: Binaries) -> None:
    """Whatever is raised inside, Ctrl-C included, the server is down and the error passes."""
    cluster = make_cluster(server_root / "data", binaries, sync=False)
    with pytest.raises(KeyboardInterrupt), running(cluster):
        raise KeyboardInterrupt
    must_not_run(cluster)


@pytest.mark.pg("== 17")
def test_killed_server_is_known_to_be_down_and_recovers(server: Cluster) -> None:
    """After a SIGKILL the pid file that stays behind deceives nobody, and a start recovers."""
    live = live_pid_file(server.data)
    assert live is not None
    os.kill(live.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(server))
    assert (server.data / "postmaster.pid").exists()
    # Its children notice the death by themselves and hold shared memory until then.
    wait_until(lambda: _starts(server))
    assert scalar(server, "SELECT 1") == 1


@pytest.mark.pg("== 17")
def test_foreign_process_with_the_number_of_a_dead_server_is_no_server(server_root: Path, binaries: Binaries) -> None:
    """After a crash another process may have the number that the pid file holds."""
    cluster = make_cluster(server_root / "data", binaries, sync=False)
    (cluster.data / "postmaster.pid").write_text(f"{os.getpid()}\n{cluster.data}\n")
    assert not is_running(cluster)


@pytest.mark.pg("== 17")
def test_stopping_twice_is_no_error(server: Cluster) -> None:
    """A stopped server stays stopped."""
    stop(server)
    stop(server, mode="immediate")
    must_not_run(server)


@pytest.mark.pg("== 17")
def test_stop_that_clients_hold_up_becomes_immediate(server: Cluster) -> None:
    """A smart stop waits for clients only as long as it was told."""
    with connect(server.url()):
        stop(server, mode="smart", timeout=1)
        assert not is_running(server)


@pytest.mark.pg("== 17")
def test_promotion_ends_recovery(server_root: Path, binaries: Binaries) -> None:
    """A standby that is promoted is in recovery before and writable after."""
    cluster = make_cluster(server_root / "data", binaries, sync=False)
    (cluster.data / "standby.signal").touch()
    with running(cluster):
        assert scalar(cluster, "SELECT pg_is_in_recovery()") is True
        promote(cluster)
        assert scalar(cluster, "SELECT pg_is_in_recovery()") is False


@pytest.mark.pg("== 17")
def test_promoting_a_primary_fails_with_its_words(server: Cluster) -> None:
    """PG011 carries what pg_ctl said."""
    with pytest.raises(SafepointError, match=r"PG011: .*not in standby mode"):
        promote(server)


@pytest.mark.pg("== 17")
def test_removal_of_an_adopted_cluster_spares_a_foreign_socket_directory(server_root: Path, binaries: Binaries) -> None:
    """A run directory that safepoint did not make is not its to delete."""
    cluster = make_cluster(server_root / "data", binaries, sync=False)
    foreign = server_root / "sockets"
    foreign.mkdir(mode=0o700)
    remove_cluster(adopt_cluster(cluster.data, binaries, socket_directory=foreign))
    assert foreign.exists()
    assert not cluster.data.exists()


@pytest.mark.pg("== 17")
def test_run_directory_of_somebody_else_is_refused(server_root: Path, binaries: Binaries) -> None:
    """A run directory that others may enter is not used: its connections are trusted."""
    cluster = make_cluster(server_root / "data", binaries, sync=False)
    cluster.socket_directory.chmod(0o755)
    with pytest.raises(SafepointError, match=r"PG002: found .* with mode 755, expected a directory private to"):
        start(cluster)


def _starts(cluster: Cluster) -> bool:
    try:
        start(cluster)
    except Unreachable:
        return False
    return True


def wait_until(condition: object, seconds: float = 20.0) -> None:
    """Returns when the condition holds; fails after `seconds`."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)
