"""Growth: index, cache and look-ups of a repository of ten tebibytes, without the tebibytes.

    python -m bench.growth [--blobs 40000000] [--scratch DIRECTORY] [--json]

Writes index objects for that many synthetic blobs into a folder store, lets a new process build the index cache, and
lets two new processes look up blobs that are there and blobs that are not. 40 million blobs of 256 KiB are 10 TiB, and
take about 6 GB of disk for a few minutes. The page cache is warm: the cache file was just written.

Memory is each process's own: `peak` is VmHWM, all that was ever resident, the interpreter and mapped files included;
`anonymous` the largest RssAnon and `file` the largest RssFile seen, looked at every 50 ms.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from safepoint.repository.packs.index import put_indexes
from safepoint.repository.packs.index_cache import IndexCache, Refreshed
from safepoint.repository.packs.pack import ENTRY, PackContents
from safepoint.repository.sealing.seal import HEADER_BYTES, ID_BYTES, Keyring
from safepoint.stores import FolderStore

TEN_TEBIBYTES = 40_000_000
WORKERS = 2
LARGEST_PEAK_MB = 500
FEWEST_LOOKUPS = 200_000
_PACK_BLOBS = 500  # 64 MiB of data that was compressed to half
_STORED_BYTES = 128 * 1024
_RAW_BYTES = 256 * 1024
_LOOKUPS = 400_000
_SAMPLED_PACKS = 400
_KEYRING = Keyring(family=b"growth bench....", masters={1: b"growth bench, a key of 32 bytes."}, is_encrypted=True)
_REPOSITORY = "growth"
_CLUSTER = "7345678901234567890"
_SAMPLE_SECONDS = 0.05
_MEGABYTE = 1000 * 1000


def run(blobs: int, scratch: Path) -> dict[str, Any]:
    """What was measured; `scratch` is as it was, also after a failure."""
    place = Path(tempfile.mkdtemp(prefix="growth-", dir=scratch))
    try:
        written = _in_new_process(_write_indexes, place, blobs)
        built = _in_new_process(_build, place, blobs)
        again = _in_new_process(_add_one_pack, place, blobs)
        looked_up = _in_new_processes(_look_up, place, blobs, count=WORKERS)
    finally:
        shutil.rmtree(place)
    return {
        "blobs": blobs,
        "write": written,
        "build": built,
        "add one pack": again,
        "look up": looked_up,
        "meets target": _meets_target([built, again, *looked_up], looked_up),
    }


def _meets_target(processes: list[dict[str, Any]], workers: list[dict[str, Any]]) -> bool:
    speeds = [worker[kind]["per second"] for worker in workers for kind in ("present", "absent")]
    return max(one["memory"]["peak MB"] for one in processes) < LARGEST_PEAK_MB and min(speeds) >= FEWEST_LOOKUPS


def _write_indexes(place: Path, blobs: int) -> dict[str, Any]:
    start = time.perf_counter()
    contents = (_pack(number, blobs) for number in range(_pack_count(blobs)))
    store = FolderStore(place / "store")
    names: list[str] = []
    while group := list(itertools.islice(contents, 2048)):
        names += put_indexes(store, _KEYRING, _CLUSTER, group)
    return {"seconds": _since(start), "objects": len(names), "packs": _pack_count(blobs)}


def _build(place: Path, blobs: int) -> dict[str, Any]:
    seconds, refreshed = _refresh(IndexCache(place / "cache", _REPOSITORY, _CLUSTER), place)
    if refreshed.places != blobs:
        raise ValueError(f"found {refreshed.places} blobs in the cache, expected {blobs}")
    size = sum(file.stat().st_size for file in (place / "cache").iterdir())
    return {"seconds": seconds, "indexes read": refreshed.read, "cache MB": round(size / _MEGABYTE)}


def _add_one_pack(place: Path, blobs: int) -> dict[str, Any]:
    put_indexes(FolderStore(place / "store"), _KEYRING, _CLUSTER, [_pack(_pack_count(blobs), blobs + _PACK_BLOBS)])
    seconds, refreshed = _refresh(IndexCache(place / "cache", _REPOSITORY, _CLUSTER), place)
    return {"seconds": seconds, "indexes read": refreshed.read}


def _look_up(place: Path, blobs: int) -> dict[str, Any]:
    cache = IndexCache(place / "cache", _REPOSITORY, _CLUSTER)
    seconds, _ = _refresh(cache, place)
    source = np.random.default_rng()
    packs = [_pack(int(number), blobs) for number in source.integers(0, _pack_count(blobs), _SAMPLED_PACKS)]
    ids = [entry.tobytes() for pack in packs for entry in pack.entries["id"]]
    present = [ids[at] for at in source.integers(0, len(ids), _LOOKUPS)]
    absent = [source.bytes(ID_BYTES) for _ in range(_LOOKUPS)]
    first, first_found = _timed(cache.lookup_all, present)
    again, again_found = _timed(cache.lookup_all, present)
    missed, absent_found = _timed(cache.lookup_all, absent)
    if (first_found, again_found, absent_found) != (_LOOKUPS, _LOOKUPS, 0):
        raise ValueError(f"found {first_found}, {again_found}, {absent_found}, expected {_LOOKUPS} twice, then none")
    return {
        "open seconds": seconds,
        "present, first touch": first,
        "present": again,
        "absent": missed,
    }


def _timed(look_up: Callable[[bytes], object], ids: list[bytes]) -> tuple[dict[str, int], int]:
    """Look-ups per second by the clock and per second of processor time, and how many were found."""
    found = 0
    start, cpu_start = time.perf_counter(), time.thread_time()
    for identity in ids:
        if look_up(identity):
            found += 1
    seconds, cpu_seconds = time.perf_counter() - start, time.thread_time() - cpu_start
    return {"per second": round(len(ids) / seconds), "per CPU second": round(len(ids) / cpu_seconds)}, found


def _refresh(cache: IndexCache, place: Path) -> tuple[float, Refreshed]:
    start = time.perf_counter()
    refreshed = cache.refresh(FolderStore(place / "store"), _KEYRING)
    return _since(start), refreshed


def _pack_count(blobs: int) -> int:
    return -(-blobs // _PACK_BLOBS)


def _pack(number: int, blobs: int) -> PackContents:
    """The same contents for the same number, so that nobody need keep them."""
    source = np.random.Generator(np.random.Philox(key=number))
    count = min(_PACK_BLOBS, blobs - number * _PACK_BLOBS)
    entries = np.zeros(count, ENTRY)
    entries["id"] = np.frombuffer(source.bytes(count * ID_BYTES), "V32")
    entries["offset"] = HEADER_BYTES + np.arange(count) * _STORED_BYTES
    entries["length"] = _STORED_BYTES
    entries["raw_length"] = _RAW_BYTES
    return PackContents(pack=source.bytes(ID_BYTES), table=entries.tobytes())


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 2)


def _in_new_process(task: Callable[[Path, int], dict[str, Any]], place: Path, blobs: int) -> dict[str, Any]:
    return _in_new_processes(task, place, blobs, count=1)[0]


def _in_new_processes(
    task: Callable[[Path, int], dict[str, Any]], place: Path, blobs: int, *, count: int
) -> list[dict[str, Any]]:
    """What the task returned in each of as many processes at the same time, with the memory of each."""
    context = multiprocessing.get_context("spawn")
    started: list[tuple[BaseProcess, Connection]] = []
    for _ in range(count):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(sender, task, place, blobs))
        process.start()
        sender.close()
        started.append((process, receiver))
    results = [_received(receiver) for _, receiver in started]
    for process, _ in started:
        process.join()
    return results


def _received(receiver: Connection) -> dict[str, Any]:
    try:
        return receiver.recv()
    except EOFError:
        raise RuntimeError("a process of the bench ended before it had measured anything; see its message") from None


def _work(sender: Connection, task: Callable[[Path, int], dict[str, Any]], place: Path, blobs: int) -> None:
    largest = {"anonymous MB": 0, "file MB": 0}
    is_done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(largest, is_done))
    watcher.start()
    try:
        result = task(place, blobs)
    finally:
        is_done.set()
        watcher.join()
    sender.send({**result, "memory": {"peak MB": _memory()["VmHWM"], **largest}})


def _watch(largest: dict[str, int], is_done: threading.Event) -> None:
    while not is_done.wait(_SAMPLE_SECONDS):
        now = _memory()
        largest["anonymous MB"] = max(largest["anonymous MB"], now["RssAnon"])
        largest["file MB"] = max(largest["file MB"], now["RssFile"])


def _memory() -> dict[str, int]:
    """This process's sizes in MB (Linux: proc_pid_status(5))."""
    lines = (line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {name: round(int(value.split()[0]) * 1024 / _MEGABYTE) for name, value in lines if value.endswith(" kB")}


def main() -> int:
    """0 when the targets are met."""
    options = argparse.ArgumentParser(prog="python -m bench.growth", description="Growth to ten tebibytes.")
    options.add_argument("--blobs", type=int, default=TEN_TEBIBYTES)
    options.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    options.add_argument("--json", action="store_true", help="one line, for programs")
    chosen = options.parse_args()
    result = run(chosen.blobs, chosen.scratch)
    sys.stdout.write(json.dumps(result, indent=None if chosen.json else 2) + "\n")
    return 0 if result["meets target"] else 1


if __name__ == "__main__":
    sys.exit(main())
