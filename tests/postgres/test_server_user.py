"""Who runs a server: the data directory's owner, a configured or known account, a user namespace, or ourselves."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import safepoint
from safepoint.errors import SafepointError
from safepoint.postgres.binaries import Binaries, find_binaries
from safepoint.postgres.cluster import make_cluster, remove_cluster, running
from safepoint.postgres.connect import connect
from safepoint.postgres.server_user import (
    ServerUser,
    UserKind,
    can_enter,
    current_user,
    run_program,
    server_user,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root chooses another user; enable with: sudo make test")
NOBODY = 65534
AS_NOBODY: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}


@pytest.fixture
def binaries(major: int) -> Binaries:
    return find_binaries(major)


@pytest.fixture
def closed_root() -> Generator[Path]:
    """A directory that only root may enter."""
    path = Path(tempfile.mkdtemp(prefix="sp-"))
    yield path
    shutil.rmtree(path)


def namespaces_are_allowed() -> bool:
    answer = subprocess.run(
        ["unshare", "-U", "--map-user=65534", "--map-group=65534", "true"], capture_output=True, check=False
    )
    return answer.returncode == 0


in_namespace = pytest.mark.skipif(
    os.geteuid() != 0 or not namespaces_are_allowed(),
    reason="user namespaces are closed here; enable with: sysctl user.max_user_namespaces=15000, as root",
)


def packages() -> list[str]:
    """Where safepoint and what it stands on are imported from."""
    return [str(Path(module.__file__ or "").parents[1]) for module in (safepoint, psycopg)]


def interpreter_for_everybody() -> str | None:
    """A Python of this version with which an ordinary user can import safepoint: this one may be below root's home."""
    code = f"import sys; sys.path[:0] = {packages()!r}; import safepoint, psycopg; print(*sys.version_info[:2])"
    for candidate in (sys.executable, "/usr/bin/python3"):
        try:
            answer = subprocess.run(
                [candidate, "-c", code], capture_output=True, text=True, cwd="/", check=False, **AS_NOBODY
            )
        except OSError:
            continue
        if answer.stdout == f"{sys.version_info[0]} {sys.version_info[1]}\n":
            return candidate
    return None


@pytest.fixture
def _reachable(server_root: Path, binaries: Binaries) -> None:
    """Skips what needs an account that can run the server's programs: below root's home none can."""
    if not can_enter(nobody(), binaries.directory):
        pytest.skip(f"nobody cannot enter {binaries.directory}; enable with: a checkout outside of root's home")


def nobody() -> ServerUser:
    return ServerUser(kind=UserKind.ACCOUNT, name="nobody", uid=NOBODY, gid=NOBODY)


@as_root
@pytest.mark.pg("== 17")
@pytest.mark.usefixtures("_reachable")
def test_owner_of_the_data_directory_runs_the_server(server_root: Path, binaries: Binaries) -> None:
    """A directory that belongs to somebody is served by that user, whatever is configured."""
    data = server_root / "data"
    data.mkdir()
    os.chown(data, NOBODY, NOBODY)
    with running(make_cluster(data, binaries, sync=False)) as cluster:
        assert (cluster.user.kind, cluster.user.uid) == (UserKind.ACCOUNT, NOBODY)
        assert (data / "base").stat().st_uid == NOBODY


@as_root
@pytest.mark.pg("== 17")
@pytest.mark.usefixtures("_reachable")
def test_configured_account_is_taken(server_root: Path, binaries: Binaries, monkeypatch: pytest.MonkeyPatch) -> None:
    """SAFEPOINT_SERVER_USER decides where the directory's owner does not."""
    monkeypatch.setenv("SAFEPOINT_SERVER_USER", "nobody")
    assert server_user(server_root / "data", binaries).name == "nobody"


@as_root
@pytest.mark.parametrize("name", ["no-such-account", "root"])
@pytest.mark.pg("== 17")
def test_configured_account_that_cannot_be_is_refused(
    server_root: Path, binaries: Binaries, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """An account that does not exist is not created, and root is none."""
    monkeypatch.setenv("SAFEPOINT_SERVER_USER", name)
    with pytest.raises(SafepointError, match=f"PG008: found SAFEPOINT_SERVER_USER={name}"):
        server_user(server_root / "data", binaries)


@as_root
@pytest.mark.pg("== 17")
@pytest.mark.usefixtures("_reachable")
def test_configured_account_that_is_shut_out_is_refused_with_the_fact(
    closed_root: Path, binaries: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chosen account is not passed over: PG008 says which directory it cannot enter."""
    monkeypatch.setenv("SAFEPOINT_SERVER_USER", "nobody")
    with pytest.raises(SafepointError, match=f"PG008: found that nobody cannot enter {closed_root}"):
        server_user(closed_root / "data", binaries)


@in_namespace
def test_below_a_directory_of_root_a_namespace_serves(closed_root: Path, binaries: Binaries) -> None:
    """Where no account may enter the server runs in a user namespace, and every file is root's outside."""
    cluster = make_cluster(closed_root / "data", binaries, sync=False)
    assert cluster.user.kind is UserKind.NAMESPACE
    with running(cluster), connect(cluster.url()) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1")
        assert {path.lstat().st_uid for path in cluster.data.rglob("*")} == {0}
        # The server is found again, and stays in its namespace although an account could run it, too.
        closed_root.chmod(0o711)
        assert server_user(cluster.data, binaries) == cluster.user
    remove_cluster(cluster)


@in_namespace
@pytest.mark.pg("== 17")
def test_programs_below_a_directory_of_root_run_in_a_namespace(server_root: Path, binaries: Binaries) -> None:
    """Binaries that no account can reach, as in a virtual environment below /root, are run in a namespace."""
    prefix = server_root / "prefix"
    prefix.mkdir(mode=0o700)
    (prefix / "bin").symlink_to(binaries.directory)
    hidden = Binaries(directory=prefix / "bin", version=binaries.version, origin="configured")
    assert server_user(server_root / "data", hidden).kind is UserKind.NAMESPACE


@as_root
@pytest.mark.pg("== 17")
@pytest.mark.usefixtures("_reachable")
def test_no_way_at_all_is_refused_with_every_fact(
    closed_root: Path, binaries: Binaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where neither an account nor a namespace can run the server, PG008 says why for each, and the cure."""
    refusing = tmp_path / "unshare"
    refusing.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SafepointError, match="PG008") as caught:
        server_user(closed_root / "data", binaries)
    assert f"cannot enter {closed_root}" in caught.value.message
    assert "unshare failed" in caught.value.message
    assert any("SAFEPOINT_SERVER_USER" in hint.text for hint in caught.value.hints)


@as_root
def test_owning_follows_no_link(server_root: Path) -> None:
    """Files, directories and links below belong to the user; what a link points to does not."""
    outside, tree = server_root / "outside", server_root / "tree"
    outside.touch()
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").touch()
    (tree / "link").symlink_to(outside)
    nobody().own(tree)
    assert {path.lstat().st_uid for path in (tree, *tree.rglob("*"))} == {NOBODY}
    assert outside.stat().st_uid == 0


@as_root
def test_only_parents_that_were_made_are_owned(server_root: Path) -> None:
    """Making a directory takes nothing that existed from its owner."""
    nobody().make_directory(server_root / "a" / "b")
    assert (server_root / "a").stat().st_uid == NOBODY
    assert (server_root / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert server_root.stat().st_uid == 0


@as_root
def test_ordinary_user_runs_servers_as_itself(server_root: Path) -> None:
    """Without root a cluster is made, served and stopped by the current user, with no account chosen."""
    os.chown(server_root, NOBODY, NOBODY)
    interpreter = interpreter_for_everybody()
    if interpreter is None:
        pytest.skip("nobody can run this Python; enable with: apt-get install -y python3, of the same version")
    code = f"""
import sys
sys.path[:0] = {packages()!r}
from pathlib import Path
from safepoint.postgres.binaries import available_binaries
from safepoint.postgres.cluster import is_running, make_cluster, running
from safepoint.postgres.connect import connect
for binaries in available_binaries():
    cluster = make_cluster(Path({str(server_root)!r}) / str(binaries.version), binaries, sync=False)
    with running(cluster), connect(cluster.url()) as connection:
        row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    print(cluster.user.kind.value, cluster.user.name, row, is_running(cluster))
"""
    answer = subprocess.run(
        [interpreter, "-c", code], capture_output=True, text=True, check=False, cwd="/", **AS_NOBODY
    )
    assert answer.stderr == ""
    assert answer.stdout.splitlines()
    assert set(answer.stdout.splitlines()) == {"current nobody (False,) False"}


def test_current_user_is_named() -> None:
    """Whoever runs safepoint, by account."""
    assert current_user().name == pwd.getpwuid(os.geteuid()).pw_name


def test_failing_program_is_told_with_its_words() -> None:
    """PG011 carries the exit code and what the program said."""
    with pytest.raises(SafepointError, match=r"PG011: found exit code 3 of sh -c .*: first \| second"):
        run_program(current_user(), ["sh", "-c", "echo first >&2; echo second >&2; exit 3"])


def test_program_that_does_not_exist_is_told() -> None:
    """PG011 names it."""
    with pytest.raises(SafepointError, match="PG011: found that no-such-program cannot be run"):
        run_program(current_user(), ["/no-such-program"])


def test_program_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """After the timeout the program is asked to end, so that it can tidy up."""
    script = f"trap 'touch {tmp_path}/tidied; exit 1' TERM; while :; do sleep 0.05; done"
    with pytest.raises(SafepointError, match=r"PG011: found sh -c .* still running after 0\.3 s"):
        run_program(current_user(), ["sh", "-c", script], timeout=0.3)
    assert (tmp_path / "tidied").exists()


def test_interrupted_wait_ends_the_program(tmp_path: Path) -> None:
    """Ctrl-C while a program runs ends that program before it passes on."""
    code = (
        "from safepoint.postgres.server_user import *;"
        f"run_program(current_user(), ['sh', '-c', 'echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid;"
        " exec sleep 60'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=20)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_callers_variables_do_not_reach_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """PGDATA and its kind, and a foreign language, would change what the programs do and say."""
    monkeypatch.setenv("PGDATA", "/elsewhere")
    monkeypatch.setenv("LC_MESSAGES", "de_DE.UTF-8")
    answer = run_program(current_user(), ["sh", "-c", 'echo "$PGDATA$LC_MESSAGES$LC_ALL"'])
    assert answer.stdout == "C\n"
