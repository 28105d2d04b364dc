"""Tasks that read: everything back to files, pages at random, and what a restore asks of the store."""

from __future__ import annotations

import filecmp
import random
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.changes import PAGE_BYTES
from bench.data import below
from bench.stopwatch import Stopwatch
from bench.tasks.backups import newest, oldest
from bench.tasks.repositories import opened
from safepoint.model.backup import BackupManifest
from safepoint.recovery.files import write_files
from safepoint.recovery.marker import MARKER
from safepoint.repository import Repository
from safepoint.repository.maps.listing import EntryKind
from safepoint.stores.metering import Call, Meter, MeteredStore

_LEAST_BYTES = 1024 * 1024
_CACHED_PAGES = 500
_WARM_SECONDS = 60
_GIB = 1 << 30


def restore(arguments: Mapping[str, Any], watch: Stopwatch) -> Mapping[str, Any]:
    """The oldest backup is written to a directory, synced, and compared with what it was made of; then it is gone."""
    data, directory = Path(arguments["data"]), Path(arguments["directory"])
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    repository = opened(Path(arguments["repository"]))
    with watch:
        written = write_files(repository, oldest(repository), directory, lambda _: None)
    _, files = below(data)
    _, wrong, missing = filecmp.cmpfiles(data, directory, files, shallow=False)
    shutil.rmtree(directory)
    if wrong or missing:
        raise ValueError(f"found {len(wrong)} files that differ and {len(missing)} missing, expected none")
    return {"raw_bytes": written.bytes, "files": len(files)}


def restore_files(arguments: Mapping[str, Any], watch: Stopwatch) -> Mapping[str, Any]:
    """The newest backup stands in a directory, which is empty or, for a delta, holds what it held before; it stays."""
    directory = Path(arguments["directory"])
    (directory / MARKER).touch()
    with watch:
        repository = opened(Path(arguments["repository"]))
        written = write_files(repository, newest(repository), directory, lambda _: None, is_delta=arguments["is_delta"])
    return {"raw_bytes": written.bytes, "fetched_bytes": written.fetched_bytes, "files": written.files}


def random_reads(arguments: Mapping[str, Any], watch: Stopwatch) -> Mapping[str, Any]:
    """Pages at random, each thread with files of its own: `cold` opens each page's blob, else few pages, warm."""
    repository = opened(Path(arguments["repository"]))
    manifest = oldest(repository)
    rates: list[float] = []
    start = threading.Barrier(arguments["threads"])
    threads = [
        threading.Thread(target=_read_pages, args=(repository, manifest, arguments, seed, start, rates))
        for seed in range(arguments["threads"])
    ]
    with watch:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if len(rates) != len(threads):
        raise RuntimeError(f"found {len(rates)} threads that ended well, expected {len(threads)}")
    return {"rate": min(rates), "reads": arguments["count"]}


def restore_requests(arguments: Mapping[str, Any], watch: Stopwatch) -> Mapping[str, Any]:
    """What reading all of the oldest or newest backup asks of the store, in requests per GiB restored."""
    meter = Meter()
    repository = opened(Path(arguments["repository"]), lambda store: MeteredStore(store, meter))
    manifest = newest(repository) if arguments["newest"] else oldest(repository)
    before = meter.usage()
    restored = 0
    with watch:
        files = repository.files(manifest)
        for _, _, data in files.contents(files.entries()):
            restored += len(data)
    used = meter.usage()
    asked = {call: used.calls.get(call, 0) - before.calls.get(call, 0) for call in (Call.GET, Call.GET_RANGE)}
    gibibytes = restored / _GIB
    return {
        "requests": sum(asked.values()),
        "per_gibibyte": sum(asked.values()) / gibibytes,
        "got_bytes": used.bytes_got - before.bytes_got,
        "restored_bytes": restored,
    }


def _read_pages(
    repository: Repository,
    manifest: BackupManifest,
    arguments: Mapping[str, Any],
    seed: int,
    start: threading.Barrier,
    rates: list[float],
) -> None:
    """Pages are drawn evenly over all files of 1 MiB and more, and read from files opened before the clock runs."""
    chance = random.Random(seed)
    files = repository.files(manifest)
    large = [entry for entry in files.entries() if entry.kind is EntryKind.FILE and entry.size >= _LEAST_BYTES]
    opened_files = [files.open(entry.path) for entry in large]
    pages = [entry.size // PAGE_BYTES for entry in large]
    places = _places(chance, pages, arguments["count"] if arguments["cold"] else _CACHED_PAGES)
    if not arguments["cold"]:
        for file, page in places:
            opened_files[file].read(page * PAGE_BYTES, PAGE_BYTES)
        places = [chance.choice(places) for _ in range(arguments["count"])]
    start.wait(_WARM_SECONDS)
    began = time.perf_counter()
    for file, page in places:
        if len(opened_files[file].read(page * PAGE_BYTES, PAGE_BYTES)) != PAGE_BYTES:
            raise ValueError(f"found page {page} short, expected {PAGE_BYTES} bytes")
    rates.append(len(places) / (time.perf_counter() - began))


def _places(chance: random.Random, pages: Sequence[int], count: int) -> list[tuple[int, int]]:
    """So many (file, page), each page as likely as any other."""
    files = chance.choices(range(len(pages)), weights=pages, k=count)
    return [(file, chance.randrange(pages[file])) for file in files]
