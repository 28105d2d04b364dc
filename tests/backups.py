"""What tests of backup and recovery share: repositories, receivers in threads and processes, restores, oracles."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg import Connection

from safepoint.backup.fetch_coverage import fetch_coverage
from safepoint.backup.physical import BackupRequest
from safepoint.backup.plan import backup_actions, new_backup_id, plan_backup
from safepoint.backup.receiver import WalReceiver
from safepoint.backup.receiver_state import ReceiverState
from safepoint.backup.sources.choice import BY_STREAM, Choice
from safepoint.errors import SafepointError
from safepoint.model.backup import BackupManifest
from safepoint.model.coverage import Coverage, Mark, WalPiece
from safepoint.model.json_value import JsonObject
from safepoint.model.lsn import Lsn
from safepoint.model.measures import system_clock
from safepoint.postgres.basebackup import Checkpoint
from safepoint.postgres.binaries import find_binaries
from safepoint.postgres.cluster import Cluster, adopt_cluster, remove_cluster
from safepoint.postgres.connect import connect
from safepoint.postgres.url import DatabaseUrl
from safepoint.recovery.actions import restore_actions
from safepoint.recovery.choice import choose
from safepoint.recovery.plan import plan_restore
from safepoint.recovery.proofs import Question
from safepoint.recovery.replay import url_of
from safepoint.recovery.targets import PinnedRecovery, parse_target
from safepoint.repository import Repository, create_repository, open_repository
from safepoint.steps.execute import Action, Context, Progress, Run, execute
from safepoint.steps.journal import Journal, MemoryJournal
from safepoint.steps.plan import Plan, Step
from safepoint.stores import open_store

DATABASE = "shop"
PATIENCE_SECONDS = 30.0


def new_repository(directory: Path) -> Repository:
    """A repository in a folder below `directory`, without encryption."""
    return create_repository(open_store(f"file:{directory / 'repository'}"), None)


def reopened(directory: Path) -> Repository:
    """The same repository as another process sees it."""
    return open_repository(open_store(f"file:{directory / 'repository'}"), None)


def backup_plan(
    backup_id: str | None = None,
    choice: Choice = BY_STREAM,
    checkpoint: Checkpoint = Checkpoint.FAST,
    rate_limit: int | None = None,
) -> Plan:
    """The plan of a backup, by default one that is named after now."""
    request = BackupRequest(
        backup_id=backup_id or new_backup_id(DATABASE, system_clock()),
        database=DATABASE,
        tier="daily",
        checkpoint=checkpoint,
        compression=1,
        source=choice.source,
        data=choice.data,
        rate_limit=rate_limit,
    )
    return plan_backup(request, choice.reason)


def actions_of(
    url: DatabaseUrl, repository: Repository, primary: DatabaseUrl | None = None
) -> AbstractContextManager[Mapping[str, Action]]:
    """What carries a backup out: of a primary, or of the server at `url` below one."""
    return backup_actions(url, repository, primary=primary or url, strategy="")


def take_backup(
    url: DatabaseUrl, repository: Repository, primary: DatabaseUrl | None = None, **options: Any
) -> BackupManifest:
    """A backup, taken now: the plan, made with these options, and carried out."""
    with actions_of(url, repository, primary) as actions:
        run = execute(backup_plan(**options), actions=actions, journal=MemoryJournal())
    return repository.backup(str(run.outcomes["commit"]["backup"]))


def copy_watched(
    url: DatabaseUrl, repository: Repository, choice: Choice, watch: Callable[[Progress], None]
) -> BackupManifest:
    """A backup of which the copying is watched."""
    plan = backup_plan(choice=choice)

    def copy(step: Step, context: Context) -> JsonObject:
        watched = Context(plan=plan, outcomes=context.outcomes, is_repeat=False, report=watch)
        return inner["backup.copy"](step, watched)

    with actions_of(url, repository) as inner:
        run = execute(plan, actions={**inner, "backup.copy": copy}, journal=MemoryJournal())
    return repository.backup(str(run.outcomes["commit"]["backup"]))


class Watcher:
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.states: list[ReceiverState] = []
        self.errors: list[SafepointError] = []

    def progressed(self, state: ReceiverState) -> None:
        """Kept."""
        self.states.append(state)

    def troubled(self, error: SafepointError) -> None:
        """Kept."""
        self.errors.append(error)


class BackgroundReceiver:
    """A receiver in a thread of its own."""

    def __init__(self, url: DatabaseUrl, repository: Repository, **options: Any) -> None:
        self.watcher = Watcher()
        self.receiver = WalReceiver(
            url=url, repository=repository, database=DATABASE, observer=self.watcher, ship_seconds=0.2, **options
        )
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Stopped, with everything it had received shipped; what ended it before is raised."""
        self.receiver.stop.set()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error

    def wait_for_end(self) -> BaseException | None:
        """What ended it by itself."""
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()
        return self.error

    def _run(self) -> None:
        try:
            self.receiver.run()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.error = error


@contextmanager
def receiving(url: DatabaseUrl, repository: Repository, **options: Any) -> Generator[BackgroundReceiver]:
    """A receiver that runs inside the context and is stopped in order after it."""
    background = BackgroundReceiver(url, repository, **options)
    try:
        yield background
    except BaseException:
        background.receiver.stop.set()
        background.wait_for_end()
        if background.error is not None:
            raise background.error from None
        raise
    background.stop()


@contextmanager
def receiving_process(url: DatabaseUrl, directory: Path) -> Generator[subprocess.Popen[bytes]]:
    """A receiver in a process of its own, to be killed; killed anyway at the end."""
    code = (
        "import sys; from backups import *\n"
        f"WalReceiver(url=DatabaseUrl.parse(sys.argv[1]), repository=reopened(Path({str(directory)!r})),"
        f" database={DATABASE!r}, ship_seconds=0.2).run()"
    )
    with running_code(code, url.reveal()) as process:
        yield process


@contextmanager
def running_code(code: str, *arguments: str) -> Generator[subprocess.Popen[bytes]]:
    """Python code in a process of its own, which finds what tests share; killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=Path(__file__).parent)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Returns when it is so; fails after half a minute."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def system_identifier(cluster: Cluster) -> str:
    """The cluster's, in decimal."""
    with connect(cluster.url()) as connection:
        row = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
    assert row is not None
    return str(row[0])


def pieces_of(repository: Repository, cluster: Cluster) -> tuple[WalPiece, ...]:
    """The WAL held of the cluster."""
    return repository.wal_pieces(system_identifier(cluster))


def newest_mark(repository: Repository, identifier: str) -> Mark | None:
    """The newest mark held of a cluster."""
    marks = [repository.read_mark(piece) for piece in repository.wal_pieces(identifier)]
    return max((mark for mark in marks if mark is not None), key=lambda mark: mark.clock, default=None)


def flushed(connection: Connection[Any]) -> Lsn:
    """How far the server's WAL is flushed."""
    row = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
    assert row is not None
    return Lsn.parse(row[0])


def server_clock(connection: Connection[Any]) -> datetime:
    """The server's clock."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return row[0]


def whole_coverage(repository: Repository, cluster: str) -> Coverage:
    """What can be restored of the cluster, from every backup of it that the repository holds."""
    backups = [backup for backup in repository.backups() if backup.system_identifier == cluster]
    return fetch_coverage(repository, cluster, backups)


def pin(repository: Repository, backup: BackupManifest, to: str) -> PinnedRecovery:
    """The recovery that `--to` chooses among everything the repository holds of the backup's cluster."""
    coverage = whole_coverage(repository, backup.system_identifier)
    return choose(parse_target(to), coverage, repository.backups())


def restore_plan(
    repository: Repository, backup: BackupManifest, into: Path, to: str, questions: Sequence[Question] = ()
) -> Plan:
    """The plan that restores the backup's cluster."""
    pinned = pin(repository, backup, to)
    return plan_restore(pinned, repository.backup(pinned.backup_id), into=into, questions=questions)


def carry_out(plan: Plan, repository: Repository, journal: Journal | None = None) -> Run:
    """The restore done."""
    with restore_actions(repository) as actions:
        return execute(plan, actions=actions, journal=journal or MemoryJournal())


@contextmanager
def restored(repository: Repository, backup: BackupManifest, into: Path, to: str) -> Generator[Connection[Any]]:
    """A connection to a copy restored to `to`, gone after the context."""
    carry_out(restore_plan(repository, backup, into, to), repository)
    with connected(into, backup.version.major) as connection:
        yield connection


@contextmanager
def connected(into: Path, major: int) -> Generator[Connection[Any]]:
    """A connection to the copy that runs in a directory; the copy is gone after the context."""
    cluster = adopt_cluster(into, find_binaries(major))
    try:
        with connect(url_of(cluster, "postgres")) as connection:
            yield connection
    finally:
        remove_cluster(cluster)
