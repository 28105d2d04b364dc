"""Recovering a copy to its pinned end: start, feed, wait, promote. PostgreSQL replays; we decide when it has.

The server runs as a standby without a primary: at the end of the WAL fed it waits instead of promoting, so that
nothing ends recovery but us. A target pauses it before. `pg_ctl -w` returns before either.

Source: PostgreSQL 15-18 documentation, "Recovery Target"; src/backend/access/transam/xlogrecovery.c.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from safepoint import errors
from safepoint.model.lsn import Lsn, TimelineId
from safepoint.postgres.cluster import Cluster, is_running, promote, start, stop
from safepoint.postgres.connect import connect
from safepoint.postgres.control import read_control
from safepoint.postgres.url import DatabaseUrl
from safepoint.recovery.configuration import are_limits_enough, forget_target, raise_limits
from safepoint.recovery.feeding import Feeder, Feeding, feeding
from safepoint.recovery.files import sync_filesystem
from safepoint.recovery.staging import HeldWal
from safepoint.recovery.targets import PinnedRecovery, TargetKind

SILENCE_SECONDS = 120.0
"""Recovery that has not moved for so long is taken to have ended."""

_START_SECONDS = 3600.0
_POLL_SECONDS = 0.05
_LAST_WORDS_SECONDS = 10.0
"""How long the processes of a server whose postmaster was killed may take to notice it and go."""
_STILL_IN_USE = "pre-existing shared memory block"
"""What a start says meanwhile (src/backend/utils/init/miscinit.c); the copy's messages are untranslated: LC_ALL=C."""
_LOG_LINES = 8
_RAISES = 5
_STATE = """
SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()::text, pg_get_wal_replay_pause_state(),
       pg_last_xact_replay_timestamp()
"""

_PROMOTED = """
SELECT pg_is_in_recovery(), ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int,
       pg_current_xact_id()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Where recovery stands: what was replayed, and the commit time of the last transaction in it, if there was one."""

    lsn: Lsn
    last_commit: datetime | None
    is_paused: bool


def superuser_of(data: Path) -> str:
    """The role to log in as, which the backup's label names; `postgres` when it names none."""
    for name in ("backup_label", "backup_label.old"):
        with suppress(OSError):
            for line in (data / name).read_text().splitlines():
                if line.startswith("LABEL: ") and " superuser=" in line:
                    return line.partition(" superuser=")[2]
    return "postgres"


def url_of(cluster: Cluster, database: str = "template1") -> DatabaseUrl:
    """A superuser's way into a restored copy."""
    return DatabaseUrl.of(
        host=str(cluster.socket_directory), port=cluster.port, user=superuser_of(cluster.data), dbname=database
    )


@contextmanager
def stopped_on_failure(cluster: Cluster) -> Generator[None]:
    """Whatever goes wrong inside, Ctrl-C included, no server is left running."""
    try:
        yield
    except BaseException:
        stop(cluster)
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """A recovery to be carried out: its end, its WAL, and the backup's [start, stop) without which nobody is let in."""

    pinned: PinnedRecovery
    wal: HeldWal
    start: Lsn
    stop: Lsn

    def feeding(self, cluster: Cluster) -> Feeding:
        """What the server will ask for when it is started on the files as they are now."""
        if (cluster.data / "backup_label").exists():
            return Feeding(wal=self.wal, since=self.start, unwatched=self.stop)
        control = read_control(cluster.binaries, cluster.data)
        return Feeding(
            wal=self.wal, since=control.redo, unwatched=max(self.stop, control.minimum_recovery_end or self.stop)
        )


def recover(cluster: Cluster, recovery: Recovery, end_of_wal: Lsn, tell: Callable[[Lsn], None]) -> Replayed:
    """The server runs, paused or waiting at the pinned end, not promoted.

    RC003 when recovery ended before it, RC007 when all WAL was replayed and what was asked for had not come; what is
    wrong with the WAL is raised as what it is.
    """
    pinned = recovery.pinned
    is_without_target = pinned.target.kind is TargetKind.LATEST
    with stopped_on_failure(cluster):
        for _ in range(_RAISES):
            replayed = _recover_once(cluster, recovery, end_of_wal, tell)
            if replayed is None:
                stop(cluster)
                raise_limits(cluster, read_control(cluster.binaries, cluster.data), pinned)
            elif replayed.is_paused or is_without_target:
                return replayed
            elif pinned.must_stop:
                raise _not_met(pinned, replayed)
            else:
                # All WAL lies before the target, as the marks said: PostgreSQL alone would refuse to end here.
                stop(cluster)
                forget_target(cluster, pinned)
                is_without_target = True
        raise errors.RC003.error(f"found limits raised by WAL more than {_RAISES} times, expected fewer")


def promote_copy(cluster: Cluster) -> TimelineId:
    """The server runs and accepts writes, on a timeline of its own, which is returned. May be repeated."""
    with stopped_on_failure(cluster):
        ensure_running(cluster)
        # What was fed must outlive a crash from here on: nobody feeds it again.
        sync_filesystem(cluster.data)
        with connect(url_of(cluster)) as connection:
            row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
        if row is not None and row[0]:
            promote(cluster, timeout=_START_SECONDS)
        with connect(url_of(cluster)) as connection:
            row = connection.execute(_PROMOTED).fetchone()
    if row is None or row[0]:
        raise errors.RC003.error("found the restored server still in recovery, expected it promoted")
    return TimelineId(row[1])


def ensure_running(cluster: Cluster) -> None:
    """The server runs: that of an earlier attempt, or one started now."""
    if not is_running(cluster):
        _start(cluster)


def _start(cluster: Cluster) -> None:
    """The server runs, as soon as what is left of a killed one has gone. PG003 as `start`."""
    deadline = time.monotonic() + _LAST_WORDS_SECONDS
    while True:
        try:
            start(cluster, timeout=_START_SECONDS)
        except errors.SafepointError as error:
            if _STILL_IN_USE not in error.message or time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return


def ensure_replayed(cluster: Cluster, recovery: Recovery, lsn: Lsn) -> None:
    """The server runs and holds what recovery had reached: one started anew replays first. RC003 when it does not."""
    if not (cluster.data / "standby.signal").exists():
        ensure_running(cluster)
        return
    with feeding(cluster, recovery.feeding(cluster)) as feeder:
        ensure_running(cluster)
        with connect(url_of(cluster)) as connection:
            _wait(cluster, connection, recovery.pinned, lsn, lambda _: None, feeder)


def _recover_once(
    cluster: Cluster, recovery: Recovery, end_of_wal: Lsn, tell: Callable[[Lsn], None]
) -> Replayed | None:
    """Where recovery stopped as it should; None when it needs higher limits first."""
    if is_running(cluster):
        stop(cluster)
    with feeding(cluster, recovery.feeding(cluster)) as feeder:
        try:
            _start(cluster)
        except errors.SafepointError as error:
            if feeder.failure is None and _needs_limits(cluster):
                return None
            raise _ended_early(cluster, recovery.pinned, None, error) from error
        try:
            with connect(url_of(cluster)) as connection:
                return _wait(cluster, connection, recovery.pinned, end_of_wal, tell, feeder)
        except psycopg.OperationalError as error:
            raise _ended_early(cluster, recovery.pinned, None, error) from error


def _wait(
    cluster: Cluster,
    connection: psycopg.Connection[tuple[object, ...]],
    pinned: PinnedRecovery,
    goal: Lsn,
    tell: Callable[[Lsn], None],
    feeder: Feeder,
) -> Replayed | None:
    seen, moved_at = (Lsn(0), feeder.fed), time.monotonic()
    while True:
        replayed = _fetch_state(cluster, connection, pinned)
        feeder.replayed(replayed.lsn)
        tell(replayed.lsn)
        if replayed.is_paused and _needs_limits(cluster):
            return None
        if replayed.is_paused or replayed.lsn >= goal:
            return replayed
        if (replayed.lsn, feeder.fed) != seen:
            seen, moved_at = (replayed.lsn, feeder.fed), time.monotonic()
        if time.monotonic() - moved_at > SILENCE_SECONDS:
            raise _ended_early(cluster, pinned, replayed.lsn, None)
        time.sleep(_POLL_SECONDS)


def _fetch_state(
    cluster: Cluster, connection: psycopg.Connection[tuple[object, ...]], pinned: PinnedRecovery
) -> Replayed:
    row = connection.execute(_STATE).fetchone()
    if row is None or not row[0]:
        raise _ended_early(cluster, pinned, None, None)
    last = row[3]
    return Replayed(
        lsn=Lsn.parse(str(row[1])) if row[1] is not None else Lsn(0),
        last_commit=last.astimezone(UTC) if isinstance(last, datetime) else None,
        is_paused=row[2] == "paused",
    )


def _needs_limits(cluster: Cluster) -> bool:
    return not are_limits_enough(cluster.data, read_control(cluster.binaries, cluster.data))


def _not_met(pinned: PinnedRecovery, replayed: Replayed) -> errors.SafepointError:
    last = "unknown" if replayed.last_commit is None else replayed.last_commit.isoformat()
    return errors.RC007.error(
        f"found no end of {pinned.target} in the WAL of timeline {pinned.timeline} up to {replayed.lsn}, its last "
        f"commit at {last}; expected one",
        changed="the restored copy is marked as unfinished; production and repository are untouched",
        hints=[
            errors.ask("had it ended before the backup did, or on another timeline, or has its WAL not arrived?"),
            errors.run(f"restore all that was reached: `--to {replayed.lsn}`"),
        ],
    )


def _ended_early(
    cluster: Cluster, pinned: PinnedRecovery, replayed: Lsn | None, cause: Exception | None
) -> errors.SafepointError:
    said = f" ({cause})" if cause is not None else ""
    return errors.RC003.error(
        f"found recovery ended at {replayed or 'an unknown position'}{said}, expected it to reach {pinned.end} on "
        f"timeline {pinned.timeline}; the server's log ends: {_log_end(cluster.log)}",
        changed="the restored copy is incomplete and marked as such; production and repository are untouched",
        hints=[
            errors.ask("does the log name a missing or damaged WAL file, or a setting?"),
            errors.run(f"read the whole log: {cluster.log}"),
        ],
    )


def _log_end(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return " | ".join(lines[-_LOG_LINES:])
