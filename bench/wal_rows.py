"""The rows of WAL: pushed, streamed, replayed; what is measured, and what it has to reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Final

from bench.clusters import SEGMENTS
from bench.peers import pgbackrest
from bench.results import PGBACKREST, Result, numbers
from bench.wal import ALONE, STREAM_CLIENTS, percentile_95
from bench.workbench import Workbench
from safepoint.model.measures import format_bytes

BACKLOG_TARGET: Final = 0.8
ALONE_TARGET: Final = 0.9
BEHIND_TARGET: Final = 2.0
REPLAY_TARGET: Final = 0.9


def wal_push(bench: Workbench) -> Result:
    """A backlog through archive_command, with a pusher."""
    return _pushed(
        "wal-push",
        f"A backlog of {SEGMENTS} segments through archive_command, each",
        bench.wal.drained,
        (SEGMENTS, "archive-async, process-max=2, zst 1", BACKLOG_TARGET),
    )


def wal_push_alone(bench: Workbench) -> Result:
    """Segments pushed without a pusher."""
    return _pushed(
        "wal-push-alone",
        "A segment pushed without a pusher",
        bench.wal.pushed,
        (ALONE, "synchronous, zst 1", ALONE_TARGET),
    )


def wal_stream(bench: Workbench) -> Result:
    """How far the repository is behind while pgbench runs."""
    found = bench.wal.streamed
    behind = median(found.seconds)
    return Result(
        name="wal-stream",
        title="Repository behind the server while pgbench runs, median",
        value=behind,
        unit="s",
        baseline=f"95 of 100 samples: ≤ {percentile_95(found.seconds):.2f} s",
        target=f"< {BEHIND_TARGET:g} s",
        is_met=behind < BEHIND_TARGET,
        note=(
            f"receiver and server on one machine, pgbench with {STREAM_CLIENTS} clients at full speed: "
            f"{format_bytes(found.wal_bytes)} of WAL in {found.run_seconds:.0f} s; {len(found.seconds)} samples of the "
            "age of the position reported as durable; at most "
            f"{max(found.seconds):.2f} s"
        ),
    )


def wal_replay(bench: Workbench) -> Result:
    """Replay from the repository against `cp` from a folder."""
    found = bench.wal.replayed
    ours, theirs = (found.bytes / median(seconds) / 1e6 for seconds in (found.ours, found.theirs))
    return Result(
        name="wal-replay",
        title=f"Replay of {format_bytes(found.bytes)} of WAL from the repository",
        value=ours,
        unit="MB/s",
        baseline=f"`restore_command = 'cp ...'` from a folder: {theirs:.0f} MB/s",
        ratio=ours / theirs,
        target=f"≥ {REPLAY_TARGET} ×",
        is_met=ours >= REPLAY_TARGET * theirs,
        note=(
            "from the start of the server until the pinned end is replayed; the same settings; the folder's segments "
            f"are neither compressed nor sealed. Rounds: ours {numbers(found.ours)} s, "
            f"theirs {numbers(found.theirs)} s"
        ),
    )


ROWS: Final[Mapping[str, Callable[[Workbench], Result]]] = {
    "wal-push": wal_push,
    "wal-push-alone": wal_push_alone,
    "wal-stream": wal_stream,
    "wal-replay": wal_replay,
}


def _pushed(name: str, title: str, rounds: Mapping[str, Sequence[float]], how: tuple[int, str, float]) -> Result:
    count, theirs_is, target = how
    ours, theirs = rounds["safepoint"], rounds.get(PGBACKREST)
    each = median(ours) / count * 1000
    their_each = None if theirs is None else median(theirs) / count * 1000
    told = "" if theirs is None else f", theirs {numbers(theirs)} s"
    return Result(
        name=name,
        title=title,
        value=each,
        unit="ms",
        baseline=f"{PGBACKREST}, {theirs_is}: " + ("not installed" if their_each is None else f"{their_each:.0f} ms"),
        ratio=None if their_each is None else each / their_each,
        target=f"≤ {target} ×",
        is_met=None if their_each is None else each <= target * their_each,
        note=(
            f"{count} segments of pgbench, the command run for one after the other by a shell, as PostgreSQL's "
            "archiver does; encrypted, durable and asked for again before each is acknowledged. "
            f"{PGBACKREST} {pgbackrest.version()}. Rounds: ours {numbers(ours)} s{told}"
        ),
    )
