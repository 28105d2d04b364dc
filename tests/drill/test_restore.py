"""Whole restores: to an instant, a position, the end; what is refused; and killed at every step."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

import servers
from backups import (
    DATABASE,
    carry_out,
    connected,
    flushed,
    new_repository,
    newest_mark,
    pieces_of,
    pin,
    receiving,
    reopened,
    restore_plan,
    restored,
    server_clock,
    wait_until,
)
from safepoint import errors
from safepoint.backup.durable import durable_up_to
from safepoint.backup.plan import take_backup
from safepoint.model.backup import BackupManifest
from safepoint.model.json_value import JsonObject
from safepoint.model.lsn import Lsn
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import Cluster, adopt_cluster, is_running, remove_cluster, start, stop
from safepoint.postgres.connect import connect
from safepoint.postgres.control import read_control
from safepoint.recovery import replay
from safepoint.recovery.directory import MARKER
from safepoint.recovery.plan import proofs_of, restore_actions
from safepoint.recovery.proofs import Outcome, ProofKind, Question, prove_server
from safepoint.repository import Repository
from safepoint.steps.execute import Context, execute
from safepoint.steps.journal import MemoryJournal, open_file_journal
from safepoint.steps.plan import Plan, Step

SETTINGS = {
    "track_commit_timestamp": "on",
    "synchronous_commit": "on",
    "archive_mode": "on",
    "archive_command": "true",
}
WRITERS = 4
EIGHTEEN = pytest.mark.pg("18")


@dataclass(frozen=True, slots=True)
class Commit:
    """A transaction as the server recorded it: its row, its commit time, in the order of WAL."""

    row: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Scene:
    """A primary that was backed up under traffic, its WAL streamed, then lost."""

    root: Path
    backup: BackupManifest
    commits: tuple[Commit, ...]
    end: Lsn

    @property
    def repository(self) -> Repository:
        """As a process that knows nothing but its place opens it."""
        return reopened(self.root)

    def rows_at(self, instant: datetime) -> set[int]:
        """The rows that a restore to the instant must hold: recovery stops at the first later commit in WAL."""
        kept = itertools.takewhile(lambda commit: commit.at <= instant, self.commits)
        return {commit.row for commit in kept}


@pytest.fixture(scope="session")
def scene(major: int) -> Generator[Scene]:
    """One primary of the major, backed up amid writers that commit as fast as they can."""
    with servers.server_directory() as root:
        repository = new_repository(root)
        with servers.serving(root, major, SETTINGS) as primary:
            with connect(primary.url()) as connection:
                connection.execute("CREATE TABLE rows (id int PRIMARY KEY, filler text)")
            with receiving(primary.url(), repository), traffic(primary):
                time.sleep(0.5)
                backup = take_backup(primary.url(), repository, database=DATABASE, tier="daily")
                time.sleep(2)
            with receiving(primary.url(), repository), connect(primary.url()) as connection:
                commits = recorded_commits(connection, primary)
                end = flushed(connection)
                shown_at = server_clock(connection)
                wait_until(lambda: durable(repository, backup) >= end)
                wait_until(lambda: is_marked(repository, backup, shown_at))
        yield Scene(root=root, backup=backup, commits=commits, end=end)


def durable(repository: Repository, backup: BackupManifest) -> Lsn:
    return durable_up_to(repository, backup.system_identifier, backup.timeline, backup.start_lsn)


def is_marked(repository: Repository, backup: BackupManifest, instant: datetime) -> bool:
    mark = newest_mark(repository, backup.system_identifier)
    return mark is not None and mark.clock > instant


@contextmanager
def traffic(primary: Cluster) -> Generator[None]:
    """Writers that insert one row a transaction, each from its own range of ids."""
    stopped = threading.Event()

    def run(number: int) -> None:
        with connect(primary.url()) as connection:
            for row in itertools.count(number * 1_000_000):
                if stopped.is_set():
                    return
                connection.execute("INSERT INTO rows VALUES (%s, repeat('x', 200))", [row])

    threads = [threading.Thread(target=run, args=[number]) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def recorded_commits(connection: Connection[Any], primary: Cluster) -> tuple[Commit, ...]:
    """Every inserted row in the order of its commit record in WAL, by pg_waldump; times as the server recorded them."""
    rows = connection.execute("SELECT xmin::text, id, pg_xact_commit_timestamp(xmin) FROM rows").fetchall()
    by_transaction = {row[0]: Commit(row=row[1], at=row[2].astimezone(UTC)) for row in rows}
    segments = sorted(path.name for path in (primary.data / "pg_wal").iterdir() if len(path.name) == 24)
    last = connection.execute("SELECT pg_walfile_name(pg_current_wal_lsn())").fetchone()
    assert last is not None
    dump = subprocess.run(
        [primary.binaries.program("pg_waldump"), "-r", "Transaction", segments[0], last[0]],
        cwd=primary.data / "pg_wal",
        capture_output=True,
        text=True,
        check=False,
    )
    order = [line.split("tx:")[1].split(",")[0].strip() for line in dump.stdout.splitlines() if "desc: COMMIT" in line]
    found = tuple(by_transaction[transaction] for transaction in order if transaction in by_transaction)
    assert len(found) == len(rows)
    return found


def ids(connection: Connection[Any]) -> set[int]:
    return {row[0] for row in connection.execute("SELECT id FROM rows").fetchall()}


def after_backup(scene: Scene) -> list[Commit]:
    return [commit for commit in scene.commits if commit.at > scene.backup.stopped_at]


def test_latest_holds_every_row_ever_committed(scene: Scene) -> None:
    """And is a server of its own: promoted, writable, archiving nowhere."""
    with restored(scene.repository, scene.backup, scene.root / "latest", "latest") as connection:
        assert ids(connection) == {commit.row for commit in scene.commits}
        connection.execute("INSERT INTO rows VALUES (-1, '')")
        row = connection.execute("SELECT current_setting('archive_mode'), pg_is_in_recovery()").fetchone()
        assert row == ("off", False)
        assert not (scene.root / "latest" / MARKER).exists()


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_an_instant_holds_exactly_the_rows_committed_by_then(scene: Scene, share: float) -> None:
    """By the server's own commit times, in the order of WAL; a commit of that very instant is in."""
    commits = after_backup(scene)
    chosen = commits[int(len(commits) * share)]

    with restored(scene.repository, scene.backup, scene.root / f"at{share}", chosen.at.isoformat()) as connection:
        found = ids(connection)

    assert found == scene.rows_at(chosen.at)
    assert chosen.row in found


@EIGHTEEN
def test_random_instants(scene: Scene) -> None:
    """Between commits as well as on them."""
    commits = after_backup(scene)
    for number in range(2):
        at = commits[0].at + (commits[-1].at - commits[0].at) * ((number + 0.37) / 2)
        with restored(scene.repository, scene.backup, scene.root / f"random{number}", at.isoformat()) as connection:
            assert ids(connection) == scene.rows_at(at)


@EIGHTEEN
def test_a_position_holds_every_record_that_begins_before_it(scene: Scene) -> None:
    """Also the very end, where nothing follows that recovery could stop at."""
    with restored(scene.repository, scene.backup, scene.root / "end", str(scene.end)) as connection:
        assert ids(connection) == {commit.row for commit in scene.commits}
    with restored(scene.repository, scene.backup, scene.root / "stop", str(scene.backup.stop_lsn)) as connection:
        found = ids(connection)
    assert found < {commit.row for commit in scene.commits}
    assert found == {commit.row for commit in scene.commits[: len(found)]}


@EIGHTEEN
def test_an_instant_after_the_last_commit_is_reached_when_a_mark_proves_it(scene: Scene) -> None:
    """PostgreSQL alone ends such a recovery with an error."""
    last = max(commit.at for commit in scene.commits)
    mark = newest_mark(scene.repository, scene.backup.system_identifier)
    assert mark is not None

    with restored(scene.repository, scene.backup, scene.root / "idle", mark.clock.isoformat()) as connection:
        assert ids(connection) == {commit.row for commit in scene.commits}
    with pytest.raises(errors.Refused) as caught:
        pin(scene.repository, scene.backup, (mark.clock + timedelta(seconds=1)).isoformat())
    assert caught.value.spec is errors.RC001
    assert mark.clock > last


@EIGHTEEN
def test_a_restore_reports_what_it_proved_and_what_it_could_not(scene: Scene) -> None:
    """Unknown is not passed; a query that fails is a failure and leaves no server."""
    good = [Question(database="postgres", query="SELECT count(*) FROM rows")]
    into = scene.root / "proofs"
    plan = restore_plan(scene.repository, scene.backup, into, "latest", good)

    run = carry_out(plan, scene.repository)
    remove_cluster(adopt_cluster(into, find_binaries(18)))

    outcomes = {proof.name: proof for proof in proofs_of(run.outcomes)}
    assert outcomes["pg_verifybackup"].outcome is Outcome.PASS
    assert outcomes["query: SELECT count(*) FROM rows"].detail == str(len(scene.commits))
    assert outcomes["pg_amcheck of postgres"].outcome is Outcome.UNKNOWN
    bad = [Question(database="postgres", query="SELECT 1 / (count(*) - count(*)) FROM rows")]
    with pytest.raises(errors.Damaged) as caught:
        carry_out(restore_plan(scene.repository, scene.backup, into, "latest", bad), scene.repository)
    assert caught.value.spec is errors.RC004
    cluster = adopt_cluster(into, find_binaries(18))
    assert not is_running(cluster)
    assert (into / MARKER).exists()
    remove_cluster(cluster)


@EIGHTEEN
def test_a_question_that_cannot_be_asked_is_the_askers_mistake(scene: Scene) -> None:
    """RC006 with the server's words; the copy is no worse for it, and stays an unfinished one."""
    into = scene.root / "no-question"
    wrong = [Question(database="postgres", query="SELECT * FROM missing")]

    with pytest.raises(errors.Misconfigured, match='relation "missing" does not exist') as caught:
        carry_out(restore_plan(scene.repository, scene.backup, into, "latest", wrong), scene.repository)

    assert caught.value.spec is errors.RC006
    assert "stays marked as unfinished" in caught.value.changed
    cluster = adopt_cluster(into, find_binaries(18))
    for text in ("SELEC 1", "", "SET search_path TO public"):
        start(cluster)
        try:
            with pytest.raises(errors.Misconfigured, match="expected one query"):
                prove_server(cluster, [Question(database="postgres", query=text)])
        finally:
            stop(cluster)
    remove_cluster(cluster)


@EIGHTEEN
def test_a_damaged_pack_leaves_an_unfinished_copy_and_says_so(scene: Scene) -> None:
    """The files before it are written by then: that nothing was changed would be no truth."""
    root, into = scene.root / "damaged-store", scene.root / "half-written"
    shutil.copytree(scene.root / "repository", root / "repository")
    pack = max((root / "repository" / "packs").rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
    flip(pack, pack.stat().st_size // 2)
    repository = reopened(root)
    plan = restore_plan(repository, scene.backup, into, "latest")

    with pytest.raises(errors.Damaged) as caught:
        carry_out(plan, repository)

    assert caught.value.spec in {errors.RP004, errors.RP005}
    assert caught.value.changed == (
        f"{into} holds an unfinished copy, marked as such; production and repository are untouched; "
        "the same command begins afresh"
    )
    assert (into / MARKER).exists()


@EIGHTEEN
def test_production_configuration_stands_aside(scene: Scene) -> None:
    """The copy listens on its own socket only, with limits no lower than production's."""
    into = scene.root / "config"
    with restored(scene.repository, scene.backup, into, "latest") as connection:
        row = connection.execute("SELECT current_setting('listen_addresses'), current_setting('restore_command')")
        assert row.fetchone() == ("", "sh safepoint.recovery/guard %f")
        assert connection.execute("SHOW archive_mode").fetchone() == ("off",)
        connection.execute("SELECT pg_reload_conf()")
        assert (into / "production-config" / "postgresql.conf").exists()
        assert (into / "postgresql.auto.conf").read_text() == ""


@EIGHTEEN
def test_what_is_there_is_never_overwritten(scene: Scene) -> None:
    """RC002 for files, a data directory, a running server, and another cluster's unfinished restore."""
    plan_into = scene.root / "occupied"
    plan_into.mkdir()
    (plan_into / "precious").write_text("mine")

    with pytest.raises(errors.Refused) as caught:
        carry_out(restore_plan(scene.repository, scene.backup, plan_into, "latest"), scene.repository)

    assert caught.value.spec is errors.RC002
    assert (plan_into / "precious").read_text() == "mine"
    with servers.serving(scene.root, 18) as other, pytest.raises(errors.Refused, match="running server"):
        carry_out(restore_plan(scene.repository, scene.backup, other.data, "latest"), scene.repository)
    (plan_into / "precious").unlink()
    (plan_into / MARKER).write_text('{"system_identifier": "1"}')
    with pytest.raises(errors.Refused, match="half restored from cluster 1"):
        carry_out(restore_plan(scene.repository, scene.backup, plan_into, "latest"), scene.repository)


@EIGHTEEN
@pytest.mark.parametrize("place", ["/proc/safepoint", "/dev/null/below", 'with"quote', "$(id)"])
def test_a_place_that_no_server_can_live_in_is_refused(scene: Scene, place: str) -> None:
    """Not writable, no directory, or a name that the shell of pg_ctl would read otherwise: RC002 before anything."""
    into = scene.root / place  # an absolute place stays what it is

    with pytest.raises(errors.Refused) as caught:
        carry_out(restore_plan(scene.repository, scene.backup, into, "latest"), scene.repository)

    assert caught.value.spec is errors.RC002
    assert not into.exists()


@EIGHTEEN
def test_a_restore_leads_nowhere_into_a_data_directory(scene: Scene) -> None:
    """Not even through a link to a directory inside of it."""
    (scene.root / "data" / "base").mkdir(parents=True)
    (scene.root / "data" / "PG_VERSION").write_text("18\n")
    (scene.root / "link").symlink_to(scene.root / "data" / "base")

    with pytest.raises(errors.Refused, match="within the data directory"):
        carry_out(restore_plan(scene.repository, scene.backup, scene.root / "link" / "new", "latest"), scene.repository)


@EIGHTEEN
def test_a_second_restore_into_the_same_directory_waits_for_nobody(scene: Scene) -> None:
    """It is refused while the first is at work."""
    into = scene.root / "twice"
    plan = restore_plan(scene.repository, scene.backup, into, "latest")
    code = waiting_code(scene, into, "prove-files")
    first = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    try:
        wait_until((into / "PG_VERSION").exists)
        with pytest.raises(errors.Refused, match="another restore"):
            carry_out(plan, scene.repository)
    finally:
        first.kill()
        first.wait()
    carry_out(plan, scene.repository)
    remove_cluster(adopt_cluster(into, find_binaries(18)))


@EIGHTEEN
def test_killed_at_any_step_the_same_command_finishes_the_restore(scene: Scene) -> None:
    """SIGKILL as each step begins and as it ends, the journal kept; the copy is whole in the end."""
    into, journal = scene.root / "killed", scene.root / "restore.journal"
    plan = restore_plan(scene.repository, scene.backup, into, "latest")
    for step in plan.steps:
        for when in ("before", "after"):
            code = killing_code(scene, into, journal, step.name, when)
            died = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False)
            assert died.returncode == -signal.SIGKILL, (step.name, when)

    with open_file_journal(journal, plan) as kept:
        carry_out(plan, scene.repository, kept)

    with connected(into, 18) as connection:
        assert ids(connection) == {commit.row for commit in scene.commits}
        assert not (into / MARKER).exists()


@EIGHTEEN
def test_a_copy_whose_server_died_after_recovery_is_proven_only_when_it_is_there_again(scene: Scene) -> None:
    """The server that replays anew lets us in long before: its answers would speak of another instant."""
    into = scene.root / "died-again"
    count = Question(database="postgres", query="SELECT count(*) FROM rows")
    plan = restore_plan(scene.repository, scene.backup, into, "latest", [count])

    with restore_actions(scene.repository) as actions:

        def recover_and_die(step: Step, context: Context) -> JsonObject:
            outcome = actions["restore.recover"](step, context)
            cluster = adopt_cluster(into, find_binaries(18))
            stop(cluster, mode="immediate")
            age = datetime.now(UTC) - scene.commits[-1].at
            with (into / "postgresql.auto.conf").open("a") as file:
                file.write(f"recovery_min_apply_delay = '{age.total_seconds() + 5:.0f}s'\n")
            return outcome

        run = execute(plan, actions={**actions, "restore.recover": recover_and_die}, journal=MemoryJournal())

    (asked,) = [proof for proof in proofs_of(run.outcomes) if proof.kind is ProofKind.QUESTION]
    remove_cluster(adopt_cluster(into, find_binaries(18)))
    assert asked.detail == str(len(scene.commits))


@EIGHTEEN
@pytest.mark.parametrize("step", ["write", "recover", "promote"])
def test_killed_without_a_journal_a_new_restore_takes_over(scene: Scene, step: str) -> None:
    """Also to another target, and though the killed one's server still runs."""
    into = scene.root / f"taken-{step}"
    code = killing_code(scene, into, scene.root / f"{step}.journal", step, "after")
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False)

    with restored(scene.repository, scene.backup, into, str(scene.backup.stop_lsn)) as connection:
        assert len(ids(connection)) < len(scene.commits)


def killing_code(scene: Scene, into: Path, journal: Path, step: str, when: str) -> str:
    """A restore in a process that kills itself around one step."""
    return (
        "import os, signal; from backups import *; from safepoint.steps.journal import open_file_journal\n"
        f"repository = reopened(Path({str(scene.root)!r}))\n"
        f"plan = restore_plan(repository, repository.backup({scene.backup.id!r}), Path({str(into)!r}), 'latest')\n"
        f"def dying(action, when):\n"
        "    def run(step, context):\n"
        "        if when == 'after': action(step, context)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return run\n"
        f"with open_file_journal(Path({str(journal)!r}), plan) as journal, restore_actions(repository) as actions:\n"
        f"    name = 'restore.{step}'\n"
        f"    execute(plan, actions={{**actions, name: dying(actions[name], {when!r})}}, journal=journal)\n"
    )


def waiting_code(scene: Scene, into: Path, stop_before: str) -> str:
    """A restore in a process that waits for ever before one step."""
    return (
        "import time; from backups import *\n"
        f"repository = reopened(Path({str(scene.root)!r}))\n"
        f"plan = restore_plan(repository, repository.backup({scene.backup.id!r}), Path({str(into)!r}), 'latest')\n"
        "with restore_actions(repository) as actions:\n"
        f"    execute(plan, actions={{**actions, 'restore.{stop_before}': lambda *_: time.sleep(600)}}, "
        "journal=MemoryJournal())\n"
    )


@EIGHTEEN
def test_a_hole_in_the_wal_ends_what_can_be_restored(server_root: Path) -> None:
    """`latest` and targets behind the hole are refused, a target before it works."""
    repository = new_repository(server_root)
    with servers.serving(server_root, 18, SETTINGS) as primary:
        with receiving(primary.url(), repository), connect(primary.url()) as connection:
            backup = take_backup(primary.url(), repository, database=DATABASE, tier="daily")
            connection.execute("CREATE TABLE rows (id int)")
            before = flushed(connection)
            for row in range(4):
                connection.execute("INSERT INTO rows VALUES (%s)", [row])
                connection.execute("SELECT pg_switch_wal()")
            connection.execute("INSERT INTO rows VALUES (4)")
            behind = flushed(connection)
            wait_until(lambda: durable(repository, backup) >= behind)
        pieces = [piece for piece in pieces_of(repository, primary) if piece.start > before]
    (server_root / "repository" / pieces[1].name).unlink()

    for target in ("latest", str(behind)):
        with pytest.raises(errors.Refused) as caught:
            pin(repository, backup, target)
        assert caught.value.spec is errors.RC001
        assert str(pieces[1].start) in caught.value.message
    with restored(repository, backup, server_root / "before", str(before)) as connection:
        assert ids(connection) == set()


def carry_out_with(plan: Plan, repository: Repository, after: str, damage: Callable[[], object]) -> None:
    """The restore done, with something that happens to its directory after a step."""
    with restore_actions(repository) as actions:

        def run(step: Step, context: Context) -> JsonObject:
            outcome = actions[after](step, context)
            damage()
            return outcome

        execute(plan, actions={**actions, after: run}, journal=MemoryJournal())


def flip(path: Path, at: int) -> None:
    """One bit of a file is another."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


@EIGHTEEN
def test_a_file_that_was_written_wrong_is_found_before_a_server_touches_it(scene: Scene) -> None:
    """pg_verifybackup compares every file with what the server said of it."""
    into = scene.root / "written-wrong"
    plan = restore_plan(scene.repository, scene.backup, into, "latest")

    with pytest.raises(errors.Damaged, match="pg_verifybackup failed") as caught:
        carry_out_with(plan, scene.repository, "restore.write", lambda: flip(into / "base/1/1259", 5000))

    assert caught.value.spec is errors.RC004
    assert (into / MARKER).exists()
    assert not (into / "postmaster.opts").exists()


@EIGHTEEN
def test_wal_that_does_not_replay_to_the_pinned_end_is_never_handed_over(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that is damaged looks like the end of WAL to PostgreSQL, and to nobody else."""
    into = scene.root / "cut-short"
    plan = restore_plan(scene.repository, scene.backup, into, "latest")
    monkeypatch.setattr(replay, "SILENCE_SECONDS", 3.0)

    def damage() -> None:
        last = max(path for path in (into / "pg_wal").iterdir() if len(path.name) == 24)
        flip(last, (scene.end - scene.end.segment_start(1 << 24)) // 2)

    with pytest.raises(errors.Damaged) as caught:
        carry_out_with(plan, scene.repository, "restore.stage-wal", damage)

    assert caught.value.spec is errors.RC003
    assert (into / MARKER).exists()
    assert not is_running(adopt_cluster(into, find_binaries(18)))


@EIGHTEEN
def test_an_index_that_amcheck_finds_damaged_is_never_handed_over(server_root: Path) -> None:
    """Where the extension is there, it is asked, and its word counts."""
    repository = new_repository(server_root)
    into = server_root / "damaged"
    with servers.serving(server_root, 18) as primary, connect(primary.url()) as connection:
        connection.execute("CREATE EXTENSION amcheck")
        connection.execute("CREATE TABLE few AS SELECT g FROM generate_series(1, 1000) g")
        connection.execute("CREATE INDEX few_g ON few (g)")
        row = connection.execute("SELECT pg_relation_filepath('few_g')").fetchone()
        assert row is not None
        backup = take_backup(primary.url(), repository, database=DATABASE, tier="daily")
    plan = restore_plan(repository, backup, into, "latest")

    with pytest.raises(errors.Damaged, match="pg_amcheck of postgres failed") as caught:
        carry_out_with(plan, repository, "restore.prove-files", lambda: flip(into / row[0], 8192 + 8000))

    assert caught.value.spec is errors.RC004


@EIGHTEEN
def test_a_primary_configured_in_another_encoding_with_a_database_half_dropped_is_restored(server_root: Path) -> None:
    """Neither bytes that are no UTF-8 in its configuration nor what PostgreSQL calls invalid keep the rest away."""
    repository = new_repository(server_root)
    with servers.serving(server_root, 18) as primary:
        with (primary.data / "postgresql.conf").open("ab") as file:
            file.write("# für\n".encode("latin-1"))
        with connect(primary.url()) as connection:
            connection.execute("CREATE DATABASE victim")
            # As DROP DATABASE leaves it when it is interrupted.
            connection.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'victim'")
        backup = take_backup(primary.url(), repository, database=DATABASE, tier="daily")

    with restored(repository, backup, server_root / "restored", "latest") as connection:
        row = connection.execute("SELECT count(*) FROM pg_database WHERE datname = 'victim'").fetchone()

    assert row == (1,)


@EIGHTEEN
def test_wal_that_vanishes_during_recovery_stops_it(scene: Scene) -> None:
    """A staged file that is gone is never read as the end of the archive: RC003, and no promotion."""
    into = scene.root / "vanished"
    plan = restore_plan(scene.repository, scene.backup, into, "latest")

    with pytest.raises(errors.Damaged) as caught:
        carry_out_with_lost_wal(plan, scene, into)

    assert caught.value.spec is errors.RC003
    cluster = adopt_cluster(into, find_binaries(18))
    assert not is_running(cluster)
    assert read_control(cluster.binaries, into).timeline.value == 1
    remove_cluster(cluster)


def carry_out_with_lost_wal(plan: Any, scene: Scene, into: Path) -> None:
    from safepoint.recovery.plan import restore_actions  # noqa: PLC0415 - beside its one use
    from safepoint.steps.execute import execute  # noqa: PLC0415
    from safepoint.steps.journal import MemoryJournal  # noqa: PLC0415

    with restore_actions(scene.repository) as actions:

        def configure(step: Any, context: Any) -> Any:
            outcome = actions["restore.configure"](step, context)
            staged = sorted(path for path in (into / "pg_wal").iterdir() if len(path.name) == 24)
            staged[0].unlink()
            return outcome

        execute(plan, actions={**actions, "restore.configure": configure}, journal=MemoryJournal())


@EIGHTEEN
def test_limits_that_wal_raises_midway_do_not_stop_recovery(server_root: Path) -> None:
    """The backup's control file knows the old limit, the WAL after it the new one."""
    repository = new_repository(server_root)
    primary = servers.make_server(server_root, 18, SETTINGS)
    try:
        with receiving(primary.url(), repository):
            backup = take_backup(primary.url(), repository, database=DATABASE, tier="daily")
            stop(primary)
            start(primary, settings={"max_connections": "300", "max_prepared_transactions": "7"})
            with connect(primary.url()) as connection:
                connection.execute("CREATE TABLE rows AS SELECT 1 AS id")
                end = flushed(connection)
            wait_until(lambda: durable(repository, backup) >= end)
    finally:
        remove_cluster(primary)

    with restored(repository, backup, server_root / "raised", "latest") as connection:
        assert ids(connection) == {1}
        row = connection.execute("SELECT current_setting('max_connections')").fetchone()
        assert row == ("300",)


@EIGHTEEN
def test_a_restored_copy_that_becomes_production_can_be_backed_up_and_restored(server_root: Path) -> None:
    """On its new timeline, its WAL in the same repository; a third generation holds the rows of all."""
    repository = new_repository(server_root)
    with (
        servers.serving(server_root, 18, SETTINGS) as primary,
        receiving(primary.url(), repository),
        connect(primary.url()) as connection,
    ):
        backup = take_backup(primary.url(), repository, database=DATABASE, tier="daily")
        connection.execute("CREATE TABLE rows AS SELECT 1 AS id")
        end = flushed(connection)
        wait_until(lambda: durable(repository, backup) >= end)
    second = server_root / "second"
    carry_out(restore_plan(repository, backup, second, "latest"), repository)
    cluster = adopt_cluster(second, find_binaries(18))
    try:
        with receiving(cluster.url(), repository), connect(cluster.url()) as connection:
            connection.execute("INSERT INTO rows VALUES (2)")
            end = flushed(connection)
            wait_until(lambda end=end: pin(repository, backup, "latest").end >= end)
    finally:
        remove_cluster(cluster)

    pinned = pin(repository, backup, "latest")
    assert (pinned.backup_id, pinned.timeline.value) == (backup.id, 2)
    with restored(repository, backup, server_root / "third", "latest") as connection:
        assert ids(connection) == {1, 2}
        row = connection.execute("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)").fetchone()
        assert row == ("00000003",)
