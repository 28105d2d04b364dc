"""The rows of the table, one function each: what a repository is measured by, and what it has to reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Final

from bench import growth
from bench.baselines import READ, WRITE
from bench.map_size import SIMULATED_CHUNKS
from bench.measure import Outcome
from bench.results import Result, median_of, numbers, numbers_of
from bench.workbench import CHANGED, DAYS, EACH_FILE_EVERY, SIMULATED_BYTES, Workbench
from safepoint.kernel import IS_COMPILED
from safepoint.model.measures import format_bytes

INGEST_TARGET: Final = 1.2
MEMORY_TARGET: Final = 400_000_000
AGAIN_TARGET: Final = 2.0
NAMED_TARGET: Final = 2.5
STORED_TARGET: Final = 1.5
MAP_TARGET: Final = 0.03
MAP_ALLOWANCE: Final = 64 * 1024
RESTORE_TARGET: Final = 1.5
SMALL_TARGET: Final = 10.0
COLD_TARGET: Final = 2_000
CACHED_TARGET: Final = 50_000
REQUESTS_TARGET: Final = 1.5


def ingest_speed(bench: Workbench) -> Result:
    """A first backup against tar and zstd."""
    first = bench.first
    raw = bench.shop.stamp.bytes
    kernel = "compiled" if IS_COMPILED else "numpy: no compiler was at hand when it was installed"
    return Result(
        name="ingest",
        title="First backup",
        value=first.seconds,
        unit="s",
        baseline=f"`{WRITE}`: {first.their_seconds:.2f} s",
        ratio=first.ratio,
        target=f"≥ {INGEST_TARGET} ×",
        is_met=first.ratio >= INGEST_TARGET,
        note=(
            f"{format_bytes(raw)} read, page checksums proved, hashed, zstd-1, AES-256-GCM, packed, synced, manifest "
            f"and lease committed: {raw / first.seconds / 1e6:.0f} MB/s, {first.cpu_seconds:.1f} CPU seconds, "
            f"{format_bytes(int(first.facts['stored_bytes']))} in {first.facts['packs']} packs. The archive is neither "
            f"checked nor encrypted. Rounds: ours {numbers_of(first.ours)}, theirs {numbers(first.theirs)}. "
            f"Page kernel: {kernel}. {_LEFT_OUT}"
        ),
    )


def ingest_memory(bench: Workbench) -> Result:
    """Peak memory of a first backup."""
    peak = bench.first.peak_bytes
    return Result(
        name="ingest-memory",
        title="Peak memory of a first backup",
        value=peak / 1e6,
        unit="MB",
        target=f"< {MEMORY_TARGET // 10**6} MB",
        is_met=peak < MEMORY_TARGET,
        note="the whole process, interpreter and libraries included; the highest of all rounds",
    )


def ingest_again(bench: Workbench) -> Result:
    """A second backup with nothing changed."""
    seconds = median_of(bench.second)
    ratio = bench.first.seconds / seconds
    return Result(
        name="ingest-again",
        title="Second backup, nothing changed, all read and hashed",
        value=seconds,
        unit="s",
        baseline=f"the first: {bench.first.seconds:.2f} s",
        ratio=ratio,
        target=f"≥ {AGAIN_TARGET:.0f} ×",
        is_met=ratio >= AGAIN_TARGET,
        note=(
            f"page checksums proved again; added {format_bytes(int(bench.second[0].facts['added_bytes']))}. "
            f"Rounds: {numbers_of(bench.second)}"
        ),
    )


def ingest_named(bench: Workbench) -> Result:
    """A backup whose caller names the changed pages: cost in proportion."""
    seconds, twice = median_of(bench.named), median_of(bench.named_twice_as_many)
    pages = int(bench.named[0].facts["pages"])
    return Result(
        name="ingest-named",
        title=f"Backup with {CHANGED:.0%} of pages changed, named by the caller",
        value=seconds,
        unit="s",
        baseline=f"the first: {bench.first.seconds:.2f} s",
        ratio=bench.first.seconds / seconds,
        target=f"twice the pages ≤ {NAMED_TARGET} × the time",
        is_met=twice <= NAMED_TARGET * seconds,
        note=(
            f"{pages:,} pages at random, {seconds / pages * 1e6:.0f} µs each, the benchmark's own making of them "
            f"included; with twice as many pages {twice:.2f} s, {twice / seconds:.2f} × the time. "
            f"Rounds: {numbers_of(bench.named)}; {numbers_of(bench.named_twice_as_many)}"
        ),
    )


def stored_bytes(bench: Workbench) -> Result:
    """What 1 % of changed pages take in the store."""
    facts = bench.named[0].facts
    ratio = int(facts["added_bytes"]) / int(facts["alone"])
    return Result(
        name="stored-bytes",
        title=f"Stored for {CHANGED:.0%} of pages changed at random",
        value=int(facts["added_bytes"]) / 1e6,
        unit="MB",
        baseline=f"the changed pages alone: {int(facts['alone']) / 1e6:.1f} MB",
        ratio=ratio,
        target=f"≤ {STORED_TARGET} ×",
        is_met=ratio <= STORED_TARGET,
        note=(
            "ratio: stored to alone, smaller is better. Alone: runs of 32 changed pages of one file, each run "
            "compressed by zstd-1 and nothing else stored. Ours has maps, seals and the listing in it. "
            "Each changed page has a new LSN and 64 random bytes"
        ),
    )


def map_bytes(bench: Workbench) -> Result:
    """What maps and listing take for 1 % of changed pages of the shop."""
    facts = bench.named[0].facts
    changed = int(facts["pages"]) * 8192
    return _map_result(
        "map-bytes", f"Maps and manifest for {CHANGED:.0%} of the shop's pages", facts["map_bytes"], changed, ""
    )


def simulated_map_bytes(bench: Workbench) -> Result:
    """The same in a database of 100 GB, simulated: the average of many days, and the worst of them told."""
    days = bench.simulated
    shares = [day.map_bytes / day.changed_bytes for day in days]
    return _map_result(
        "map-bytes-simulated",
        f"Maps for {CHANGED:.0%} of {SIMULATED_BYTES // 1000**3} GB a day, simulated",
        sum(day.map_bytes for day in days) / len(days),
        days[0].changed_bytes,
        f"The average of {DAYS} days on end. On the first {shares[0]:.2%}; on {_beyond(shares)} of them more than "
        f"{MAP_TARGET:.0%}, at most {max(shares):.2%}: the days on which many maps are written whole. "
        f"{SIMULATED_CHUNKS} chunks of 256 MiB are computed, and stand for the others",
    )


def restore_speed(bench: Workbench) -> Result:
    """Everything written back to files, against zstd and tar."""
    restored = bench.restored
    raw = int(restored.facts["raw_bytes"])
    return Result(
        name="restore",
        title="Read back to files, synced",
        value=restored.seconds,
        unit="s",
        baseline=f"`{READ}`: {restored.their_seconds:.2f} s",
        ratio=restored.ratio,
        target=f"≥ {RESTORE_TARGET} ×",
        is_met=restored.ratio >= RESTORE_TARGET,
        note=(
            f"{raw / restored.seconds / 1e6:.0f} MB/s, every seal and digest proved, {restored.cpu_seconds:.1f} CPU "
            f"seconds, {restored.peak_bytes / 1e6:.0f} MB of memory; compared byte by byte with the data afterwards. "
            f"Rounds: ours {numbers_of(restored.ours)}, theirs {numbers(restored.theirs)}. {_LEFT_OUT}"
        ),
    )


def small_tables_time(bench: Workbench) -> Result:
    """10,000 small tables against one durable object per file: time."""
    ours = bench.small.seconds
    theirs = bench.small_each_durable.seconds * EACH_FILE_EVERY
    barrier = bench.small_one_barrier.seconds * EACH_FILE_EVERY
    return Result(
        name="small-tables-time",
        title="10,000 small tables: time",
        value=ours,
        unit="s",
        baseline=f"one object per file, each durable: {theirs:.1f} s",
        ratio=theirs / ours,
        target=f"≥ {SMALL_TARGET:.0f} ×",
        is_met=theirs / ours >= SMALL_TARGET,
        note=(
            f"{bench.small.facts['files']:,} files, {format_bytes(bench.tables.stamp.bytes)}. The other side: every "
            f"{EACH_FILE_EVERY}th file compressed by zstd-1 and put into our own folder store, not encrypted, times "
            f"{EACH_FILE_EVERY}. With one barrier at the end instead of a sync each it would take {barrier:.1f} s "
            f"({barrier / ours:.1f} ×)"
        ),
    )


def small_tables_objects(bench: Workbench) -> Result:
    """10,000 small tables against one object per file: objects."""
    packs, files, tables = int(bench.small.facts["packs"]), int(bench.small.facts["files"]), bench.tables.stamp.count
    return Result(
        name="small-tables-objects",
        title="10,000 small tables: objects per table",
        value=packs / tables,
        unit="",
        baseline=f"one object per file: {files / tables:.2f}",
        ratio=files / packs,
        target=f"≥ {SMALL_TARGET:.0f} ×",
        is_met=files / packs >= SMALL_TARGET,
        note=f"{packs} packs hold {files:,} files",
    )


def cold_reads(bench: Workbench) -> Result:
    """Pages at random that the repository's cache does not hold."""
    return _reads_result(bench, cold=True, target=COLD_TARGET)


def cached_reads(bench: Workbench) -> Result:
    """Pages at random that the repository's cache holds."""
    return _reads_result(bench, cold=False, target=CACHED_TARGET)


def requests_per_gib(bench: Workbench) -> Result:
    """What a restore asks of the store after one backup and after thirty."""
    one, thirty = (float(outcome.facts["per_gibibyte"]) for outcome in bench.requests)
    first, last = bench.requests
    return Result(
        name="requests",
        title=f"Store requests per GiB restored, after {DAYS} daily backups",
        value=thirty,
        unit="",
        baseline=f"after 1 backup: {one:.0f}",
        ratio=thirty / one,
        target=f"≤ {REQUESTS_TARGET} ×",
        is_met=thirty / one <= REQUESTS_TARGET,
        note=(
            f"{CHANGED:.0%} of pages changed at random each day; reads of objects and of ranges counted at the store. "
            f"Bytes fetched for a byte restored: {_fetched(first):.2f} then {_fetched(last):.2f}; "
            f"seconds: {first.seconds:.1f} then {last.seconds:.1f}"
        ),
    )


def growth_memory(bench: Workbench) -> Result:
    """Peak memory of those who look blobs up among as many as ten tebibytes have."""
    found = bench.growth
    built, added = found["build"], found["add one pack"]
    processes = (built, added, *found["look up"])
    peak = max(int(process["memory"]["peak MB"]) for process in processes)
    return Result(
        name="growth-memory",
        title=f"{growth.TEN_TEBIBYTES // 10**6} million blobs (10 TiB): peak memory",
        value=peak,
        unit="MB",
        target=f"< {growth.LARGEST_PEAK_MB} MB",
        is_met=peak < growth.LARGEST_PEAK_MB,
        note=(
            "the largest process of all, mapped files included: building the cache from "
            f"{built['indexes read']} indexes ({built['seconds']:.0f} s, {built['cache MB']:,} MB on disk), adding one "
            f"pack ({added['seconds']} s), {growth.WORKERS} processes that look up"
        ),
    )


def growth_lookups(bench: Workbench) -> Result:
    """Look-ups a second among as many blobs as ten tebibytes have."""
    workers = bench.growth["look up"]
    slowest = min(int(worker[kind]["per second"]) for worker in workers for kind in ("present", "absent"))
    first = min(int(worker["present, first touch"]["per second"]) for worker in workers)
    return Result(
        name="growth-lookups",
        title=f"{growth.TEN_TEBIBYTES // 10**6} million blobs (10 TiB): look-ups",
        value=slowest,
        unit="/s",
        target=f"≥ {growth.FEWEST_LOOKUPS:,}",
        is_met=slowest >= growth.FEWEST_LOOKUPS,
        note=(
            f"the slowest of {growth.WORKERS} processes at once, of blobs that are there and that are not; "
            f"pages of the cache touched for the first time: {first:,}/s. The cache file is in the page cache"
        ),
    )


ROWS: Final[Mapping[str, Callable[[Workbench], Result]]] = {
    "ingest": ingest_speed,
    "ingest-memory": ingest_memory,
    "ingest-again": ingest_again,
    "ingest-named": ingest_named,
    "stored-bytes": stored_bytes,
    "map-bytes": map_bytes,
    "map-bytes-simulated": simulated_map_bytes,
    "restore": restore_speed,
    "small-tables-time": small_tables_time,
    "small-tables-objects": small_tables_objects,
    "cold-reads": cold_reads,
    "cached-reads": cached_reads,
    "requests": requests_per_gib,
    "growth-memory": growth_memory,
    "growth-lookups": growth_lookups,
}
"""By name, in the order of the table, which is also the order of measuring: later rows need what earlier ones wrote."""

_LEFT_OUT: Final = "Not in our seconds: the interpreter's start and opening the repository"


def _map_result(name: str, title: str, stored: float, changed: int, note: str) -> Result:
    allowed = MAP_TARGET * changed + MAP_ALLOWANCE
    return Result(
        name=name,
        title=title,
        value=stored / 1e6,
        unit="MB",
        baseline=f"changed pages: {changed / 1e6:.0f} MB",
        ratio=stored / changed,
        target=f"≤ {MAP_TARGET:.0%} + 64 KiB",
        is_met=stored <= allowed,
        note=f"{stored / changed:.2%} of the changed pages' bytes. {note}".strip(),
    )


def _beyond(shares: Sequence[float]) -> int:
    return sum(share > MAP_TARGET for share in shares)


def _reads_result(bench: Workbench, *, cold: bool, target: int) -> Result:
    alone, both = (
        median(float(outcome.facts["rate"]) for outcome in bench.reads(threads=threads, cold=cold))
        for threads in (1, 2)
    )
    return Result(
        name="cold-reads" if cold else "cached-reads",
        title=f"Random 8 KiB pages, {'cold' if cold else 'cached'}, each thread",
        value=alone,
        unit="/s",
        target=f"≥ {target:,}",
        is_met=alone >= target,
        note=(
            f"one thread; with two at once the slower one reads {both:,.0f}/s. "
            + (
                "Cold is safepoint's own cache: pages over the whole shop, so hardly one blob is met twice; the packs "
                "are in the page cache"
                if cold
                else "500 pages, read before the clock runs"
            )
        ),
    )


def _fetched(outcome: Outcome) -> float:
    return float(outcome.facts["got_bytes"]) / float(outcome.facts["restored_bytes"])
