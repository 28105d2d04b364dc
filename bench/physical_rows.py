"""The rows of backups of servers that run, and of their restores: what is measured, and what it has to reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Final

from bench import clusters
from bench.measure import Outcome
from bench.peers import pgbackrest
from bench.physical import Incremental
from bench.results import PGBACKREST, Result, median_of, numbers_of
from bench.workbench import Workbench
from safepoint.model.measures import format_bytes

FULL_TARGET: Final = 0.85
BASEBACKUP_TARGET: Final = 0.95
MEMORY_TARGET: Final = 500_000_000
RESTORE_TARGET: Final = 0.67
DELTA_TARGET: Final = 1.0
INCREMENTAL_TARGETS: Final = {1: 1 / 10, 6: 1 / 4, 9: 1 / 3}
STORED_TARGET: Final = 1.5
RELATIONS_TARGET: Final = 1.3

_WHOLE = "Whole commands, from their start to their end"


def full(bench: Workbench) -> Result:
    """A full backup against pgBackRest."""
    rounds = bench.physical.full
    ours, raw = rounds["safepoint"], int(rounds["safepoint"][-1].facts["raw_bytes"])
    theirs = rounds.get("pgBackRest, encrypted")
    sealed = (
        "" if theirs is None else f" With its cipher pgBackRest takes {median_of(theirs):.2f} s ({numbers_of(theirs)})."
    )
    return _against(
        "full",
        "Full backup of a running server, encrypted",
        ours,
        (f"{PGBACKREST}, process-max=2, zst 1, no cipher", rounds.get(PGBACKREST)),
        FULL_TARGET,
        note=(
            f"PostgreSQL 15 with data checksums, {format_bytes(raw)} in {bench.physical.production.stamp.files:,} "
            f"files: pgbench, the shop, 2,000 small tables. Ours: page checksums proved, with the WAL it needs, "
            f"{raw / median_of(ours) / 1e6:.0f} MB/s, {median(o.cpu_seconds for o in ours):.1f} CPU seconds, "
            f"{format_bytes(int(ours[-1].facts['added_bytes']))} stored. Theirs: pages checked, no WAL.{sealed}"
        ),
    )


def full_by_server(bench: Workbench) -> Result:
    """A full backup against pg_basebackup."""
    rounds = bench.physical.full
    return _against(
        "full-basebackup",
        "The same against pg_basebackup",
        rounds["safepoint"],
        ("pg_basebackup -Ft --compress=server-zstd:level=1,workers=2", rounds["pg_basebackup"]),
        BASEBACKUP_TARGET,
        note="Theirs with -X fetch: pages checked, with the WAL it needs; neither encrypted nor deduplicated",
    )


def full_memory(bench: Workbench) -> Result:
    """Peak memory of a full backup."""
    peak = max(outcome.peak_bytes for outcome in bench.physical.full["safepoint"])
    return Result(
        name="full-memory",
        title="Peak memory of a full backup",
        value=peak / 1e6,
        unit="MB",
        target=f"< {MEMORY_TARGET // 10**6} MB",
        is_met=peak < MEMORY_TARGET,
        note="the whole process with all its threads; the highest of all rounds",
    )


def physical_restore(bench: Workbench) -> Result:
    """A restore of files against pgBackRest."""
    rounds = bench.physical.restored
    ours = rounds["safepoint"]
    return _against(
        "physical-restore",
        "Restore of its files, durable",
        ours,
        (f"{PGBACKREST}, process-max=2", rounds.get(PGBACKREST)),
        RESTORE_TARGET,
        note=(
            f"into an empty directory, {int(ours[-1].facts['raw_bytes']) / median_of(ours) / 1e6:.0f} MB/s, "
            f"{max(o.peak_bytes for o in ours) / 1e6:.0f} MB of memory, every seal and digest proved"
        ),
    )


def delta_restore(bench: Workbench) -> Result:
    """A restore over what is there already."""
    rounds = bench.physical.restored
    ours = rounds["safepoint again"]
    return _against(
        "delta-restore",
        "Delta restore with nothing changed",
        ours,
        (f"{PGBACKREST} --delta", rounds.get(f"{PGBACKREST} again")),
        DELTA_TARGET,
        note=(
            f"every page read and compared, from the page cache; fetched "
            f"{format_bytes(int(ours[-1].facts['fetched_bytes']))}. Both without the proof of pg_verifybackup, which "
            "`safepoint restore` runs besides"
        ),
    )


def incremental(bench: Workbench, *, per_cent: int) -> Result:
    """A backup after scattered changes against our own full one: time."""
    whole, found = bench.physical.whole, _incremental(bench, per_cent)
    target = INCREMENTAL_TARGETS[per_cent]
    ratio = found.seconds / whole.seconds
    raw = int(whole.outcomes[-1].facts["raw_bytes"])
    return Result(
        name=f"incremental-{per_cent}",
        title=f"Incremental backup, {per_cent} % of pages changed",
        value=found.seconds,
        unit="s",
        baseline=f"our full: {whole.seconds:.2f} s",
        ratio=ratio,
        target=f"≤ 1/{1 / target:.0f}",
        is_met=ratio <= target,
        note=(
            f"PostgreSQL 18 with summarize_wal, {format_bytes(raw)}; {found.pages:,} "
            f"pages at random; found by {found.outcomes[-1].facts.get('detection', 'reading')}. "
            f"{_WHOLE}. Rounds: {numbers_of(found.outcomes)}; full {numbers_of(whole.outcomes)}"
        ),
    )


def incremental_bytes(bench: Workbench) -> Result:
    """A backup after scattered changes against the changed pages alone: bytes."""
    shares = {found.per_cent: found.added_bytes / found.alone_bytes for found in bench.physical.incrementals}
    worst = max(bench.physical.incrementals, key=lambda found: found.added_bytes / found.alone_bytes)
    told = ", ".join(f"{per_cent} %: {ratio:.2f} ×" for per_cent, ratio in shares.items())
    return Result(
        name="incremental-bytes",
        title=f"Stored for {worst.per_cent} % of pages changed, the dearest share",
        value=worst.added_bytes / 1e6,
        unit="MB",
        baseline=f"the changed pages alone through zstd-1: {worst.alone_bytes / 1e6:.1f} MB",
        ratio=worst.added_bytes / worst.alone_bytes,
        target=f"≤ {STORED_TARGET} ×",
        is_met=worst.added_bytes <= STORED_TARGET * worst.alone_bytes,
        note=(
            f"{told}. Not comparable here with pgBackRest's block incremental, which Debian's 2.45 does not have and "
            "PostgreSQL 18 is not known to: 2.59 was seen to store 8 × the changed pages alone, a quarter of which is "
            "2 ×. Alone: runs of 32 pages, each compressed, and nothing else stored"
        ),
    )


def relations(bench: Workbench) -> Result:
    """Many relations against few: a full backup of each."""
    many, few = bench.physical.relations["many"], bench.physical.relations["few"]
    ratio = many.seconds / few.seconds
    return Result(
        name="relations",
        title=f"Full backup of {clusters.MANY_RELATIONS:,} relations",
        value=many.seconds,
        unit="s",
        baseline=f"as many rows in {clusters.FEW_RELATIONS}: {few.seconds:.2f} s",
        ratio=ratio,
        target=f"≤ {RELATIONS_TARGET} ×",
        is_met=ratio <= RELATIONS_TARGET,
        note=(
            f"{format_bytes(int(many.facts['raw_bytes']))} in {many.facts['files']:,} files, "
            f"{format_bytes(int(few.facts['raw_bytes']))} in {few.facts['files']:,}: the catalogs are larger, "
            "free space maps were taken away from both"
        ),
    )


ROWS: Final[Mapping[str, Callable[[Workbench], Result]]] = {
    "full": full,
    "full-basebackup": full_by_server,
    "full-memory": full_memory,
    "physical-restore": physical_restore,
    "delta-restore": delta_restore,
    **{f"incremental-{per_cent}": partial(incremental, per_cent=per_cent) for per_cent in clusters.SHARES},
    "incremental-bytes": incremental_bytes,
    "relations": relations,
}


def _against(
    name: str,
    title: str,
    ours: Sequence[Outcome],
    peer: tuple[str, Sequence[Outcome] | None],
    target: float,
    *,
    note: str,
) -> Result:
    """Ours as a multiple of a peer's; unknown where the peer is not installed."""
    theirs, called = peer[1], peer[0]
    ratio = None if theirs is None else median_of(ours) / median_of(theirs)
    version = f"{PGBACKREST} {pgbackrest.version()}" if called.startswith(PGBACKREST) else ""
    told = "" if theirs is None else f", theirs {numbers_of(theirs)}"
    return Result(
        name=name,
        title=title,
        value=median_of(ours),
        unit="s",
        baseline=f"`{called}`: not installed" if theirs is None else f"`{called}`: {median_of(theirs):.2f} s",
        ratio=ratio,
        target=f"≤ {target:g} ×",
        is_met=None if ratio is None else ratio <= target,
        note=f"{note}. {_WHOLE}. {version} Rounds: ours {numbers_of(ours)}{told}".replace("  ", " "),
    )


def _incremental(bench: Workbench, per_cent: int) -> Incremental:
    return next(found for found in bench.physical.incrementals if found.per_cent == per_cent)
