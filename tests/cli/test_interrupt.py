"""Ctrl-C and SIGTERM at any moment: no server left, nothing half done that counts, the same command finishes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backups import wait_until
from migrating import ask, ledger, open_transaction
from projects import SECOND, Project, back_up, verify
from safepoint.errors import ExitCode
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import adopt_cluster, is_running, remove_cluster
from safepoint.postgres.pid_file import live_pid_file
from shell import Said, ended, fingerprint, interrupted, wait_for_line

pytestmark = pytest.mark.pg("17")

DRIVER = (sys.executable, str(Path(__file__).with_name("interrupt_at.py")))
INTERRUPTED = "interrupted; the same command, run again, goes on or begins afresh\n"


@contextmanager
def interrupted_at(project: Project, step: str, moment: str, *arguments: str, times: int = 1) -> Generator[Said]:
    """What a command said that was interrupted at that moment, so many times."""
    with project.shell.begun(step, moment, str(times), *arguments, program=DRIVER) as process:
        yield ended(process)


@pytest.mark.parametrize(
    ("step", "moment"),
    [
        ("check", "ended"),
        ("write", "ended"),
        ("recover", "progressed"),
        ("recover", "ended"),
        ("promote", "ended"),
    ],
)
def test_restore(project: Project, server_root: Path, step: str, moment: str) -> None:
    """Interrupted in a step, `restore` exits 130 and leaves no server; the same command then hands the copy over."""
    copy = server_root / "copy"
    command = ["restore", "--to", "latest", "--into", str(copy)]
    try:
        with interrupted_at(project, step, moment, *command) as said:
            assert (said.code, said.out) == (ExitCode.INTERRUPTED, "")
            assert said.err.endswith(INTERRUPTED)
        assert live_pid_file(copy) is None
        assert "accepts writes" in project.shell.safepoint(*command).out
        assert is_running(adopt_cluster(copy, find_binaries(17)))
    finally:
        remove_cluster(adopt_cluster(copy, find_binaries(17)))


def test_second_interruption_while_tidying_up(project: Project, server_root: Path) -> None:
    """A second Ctrl-C while the server of an interrupted restore is being stopped is told, and it is stopped."""
    copy = server_root / "copy"
    command = ["restore", "--to", "latest", "--into", str(copy)]
    with interrupted_at(project, "recover", "ended", *command, times=2) as said:
        assert said.code == ExitCode.INTERRUPTED
        assert "interrupted already; tidying up\n" in said.err
    assert live_pid_file(copy) is None


def test_backup_while_it_waits_for_the_server(own: Project) -> None:
    """SIGTERM while the server spreads its checkpoint ends a backup: no backup, no blob, no slot, no session.

    What is added is that the work was begun and given up.
    """
    ask(own.url, "INSERT INTO \"Order\" SELECT number, repeat('x', 500) FROM generate_series(1000, 40000) number")
    before = fingerprint(own.repository)
    with own.shell.begun("backup", "--spread") as process:
        wait_for_line(process, "✓ check")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        said = interrupted(process, signal.SIGTERM)
    assert (said.code, said.out) == (ExitCode.INTERRUPTED, "")
    assert said.err.endswith(INTERRUPTED)
    added = fingerprint(own.repository).keys() - before.keys()
    assert {Path(path).relative_to(own.repository).parts[0] for path in added} == {"leases"}
    assert {Path(path).name for path in added} == {"begin", "end"}
    assert ask(own.url, "SELECT slot_name FROM pg_replication_slots") == []
    assert "no backup yet" in own.shell.safepoint("backups").out


@pytest.mark.parametrize(("step", "moment"), [("copy", "progressed"), ("copy", "ended"), ("wal", "ended")])
def test_backup(own: Project, step: str, moment: str) -> None:
    """Interrupted in or between its steps, `backup` leaves no backup, and the next one is whole.

    Packs that were complete stay: the next backup takes them over.
    """
    with interrupted_at(own, step, moment, "backup") as said:
        assert (said.code, said.out) == (ExitCode.INTERRUPTED, "")
    left = sum(path.stat().st_size for path in (own.repository / "packs").rglob("*") if path.is_file())
    assert left > 0 or moment == "progressed"
    assert own.shell.safepoint("backups", "--json").json["backups"] == []
    back_up(own)
    (made,) = own.shell.safepoint("backups", "--json").json["backups"]
    assert moment != "ended" or made["added_bytes"] < left / 4
    verify(own)


def test_deploy_that_waits_for_a_lock(own: Project) -> None:
    """Interrupted while it waits, `migrate deploy` leaves no row and no session; the same command applies it later."""
    own.migration(SECOND, 'ALTER TABLE "Order" ADD COLUMN total int;\n')
    command = ["migrate", "deploy", "--without-backup", "a test"]
    with open_transaction(own.url, 'SELECT 1 FROM "Order"') as bystander, own.shell.begun(*command) as process:
        wait_for_line(process, "✓ make sure that Prisma's table is there")
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
        wait_until(lambda: ask(own.cluster.url("shop"), waiting) == [(1,)])
        said = interrupted(process)
        assert not bystander.connection.closed
    assert said.code == ExitCode.INTERRUPTED
    assert [name for name, _ in ledger(own.url)] != [SECOND]
    assert len(ledger(own.url)) == 1
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'safepoint%'"
    wait_until(lambda: ask(own.url, sessions) == [(1,)])
    own.shell.safepoint(*command)
    assert [is_whole for _, is_whole in ledger(own.url)] == [True, True]


def test_deploy_between_its_steps(own: Project) -> None:
    """Interrupted after one migration of two, `migrate deploy` leaves that one whole, and goes on with the other."""
    own.migration(SECOND, "CREATE TABLE second (id int);\n")
    own.migration("20260103000000_third", "CREATE TABLE third (id int);\n")
    command = ["migrate", "deploy", "--without-backup", "a test"]
    step = next(
        step["name"]
        for step in own.shell.safepoint(*command, "--dry-run", "--json").json["steps"]
        if step["action"] == "migrate.unit"
    )
    with interrupted_at(own, step, "ended", *command) as said:
        assert said.code == ExitCode.INTERRUPTED
    assert [(name, True) for name, _ in ledger(own.url)][-1] == (SECOND, True)
    assert own.shell.safepoint(*command, "--json").json["applied"] == ["20260103000000_third"]


def test_wal_stream_twice(own: Project) -> None:
    """A second Ctrl-C ends a receiver at once with 130; what it had acknowledged is durable, and it can go on."""
    back_up(own)
    with own.shell.begun("wal", "stream") as receiver:
        wait_for_line(receiver, "timeline")
        receiver.send_signal(signal.SIGINT)
        receiver.send_signal(signal.SIGTERM)
        said = ended(receiver)
    assert said.code in {ExitCode.OK, ExitCode.INTERRUPTED}
    assert "Traceback" not in said.err
    verify(own)


def test_during_the_imports(own: Project) -> None:
    """Interrupted while Python is still importing, a command says so instead of showing a traceback."""
    code = "import os, signal, sys; from safepoint.cli import main\n"
    code += "class Finder:\n  def find_spec(self, name, *rest):\n"
    code += "    if name == 'psycopg': os.kill(os.getpid(), signal.SIGINT)\n"
    code += "sys.meta_path.insert(0, Finder()); main()"
    with own.shell.begun("status", program=(sys.executable, "-c", code)) as process:
        said = ended(process)
    assert (said.code, said.out, said.err) == (ExitCode.INTERRUPTED, "", INTERRUPTED)
