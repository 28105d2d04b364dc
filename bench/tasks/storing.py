"""Tasks that store: whole clusters, changed pages, days of changes, and one object per file for comparison."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zstandard

from bench.changes import compressed_alone, pick_pages
from bench.data import below
from bench.stopwatch import Stopwatch
from bench.tasks.backups import commit, newest
from bench.tasks.repositories import DATABASE, DIRECTORY_MODE, give_changed, give_whole, new_repository, opened
from safepoint.repository import Repository
from safepoint.repository.maps.ingest import Taken
from safepoint.stores.folder import FolderStore


def ingest(arguments: Mapping[str, Any], watch: Stopwatch) -> Mapping[str, Any]:
    """A backup of all files, read whole; the first of a new repository, or one on top of the newest (`again`)."""
    data, folder, is_again = Path(arguments["data"]), Path(arguments["repository"]), bool(arguments["again"])
    repository = opened(folder) if is_again else new_repository(folder)
    os.sync()  # the repository that was there before is gone for good
    with watch:
        parent = newest(repository) if is_again else None
        began = datetime.now(UTC)
        directories, files = below(data)
        with repository.write_backup(database=DATABASE, cluster=arguments["cluster"], parent=parent) as writer:
            for path in directories:
                writer.ingest.directory(path, DIRECTORY_MODE)
            for path in files:
                give_whole(writer.ingest, data, path)
            taken = writer.ingest.finish()
            commit(writer, taken, arguments["cluster"], began=began)
    return _facts(taken, folder)


def ingest_changed(arguments: Mapping[str, Any], watch: Stopwatch) -> Mapping[str, Any]:
    """A backup on top of the newest, of which the changed pages are named; `alone`: those pages compressed."""
    data, folder, seed = Path(arguments["data"]), Path(arguments["repository"]), int(arguments["seed"])
    repository = opened(folder)
    picked = pick_pages(data, below(data)[1], arguments["fraction"], seed)
    before = _manifest_bytes(folder)
    with watch:
        taken = _take_changed(repository, data, picked, arguments["cluster"], seed)
    pages = sum(map(len, picked.values()))
    return {
        **_facts(taken, folder),
        "pages": pages,
        "alone": compressed_alone(data, picked, seed),
        "map_bytes": taken.node_bytes + _manifest_bytes(folder) - before,
    }


def days(arguments: Mapping[str, Any], watch: Stopwatch) -> Mapping[str, Any]:
    """So many backups, one on top of the other, each with its own share of the pages changed."""
    data = Path(arguments["data"])
    repository = opened(Path(arguments["repository"]))
    files = below(data)[1]
    with watch:
        for day in range(arguments["first"], arguments["first"] + arguments["days"]):
            picked = pick_pages(data, files, arguments["fraction"], day)
            _take_changed(repository, data, picked, arguments["cluster"], day)
    return {}


def each_file(arguments: Mapping[str, Any], watch: Stopwatch) -> Mapping[str, Any]:
    """Every n-th file as an object of its own, compressed, durable when put; or all made durable by one barrier."""
    data, is_durable = Path(arguments["data"]), bool(arguments["durable"])
    files = below(data)[1]
    chosen = files[:: arguments["every"]]
    compressor = zstandard.ZstdCompressor(level=1)
    store = FolderStore(Path(arguments["store"]))
    with watch:
        for path in chosen:
            store.put_if_absent(f"files/{path}", compressor.compress((data / path).read_bytes()), durable=is_durable)
        store.barrier()
    return {"files": len(files), "objects": len(chosen)}


def _take_changed(
    repository: Repository, data: Path, picked: Mapping[str, Sequence[int]], cluster: str, seed: int
) -> Taken:
    """What `picked` does not name is as the newest backup has it."""
    began = datetime.now(UTC)
    directories, files = below(data)
    with repository.write_backup(database=DATABASE, cluster=cluster, parent=newest(repository)) as writer:
        for path in directories:
            writer.ingest.directory(path, DIRECTORY_MODE)
        for path in files:
            if path in picked:
                give_changed(writer.ingest, data, path, picked[path], seed)
            else:
                writer.ingest.unchanged(path)
        taken = writer.ingest.finish()
        commit(writer, taken, cluster, began=began)
    return taken


def _facts(taken: Taken, folder: Path) -> dict[str, Any]:
    packs = _sizes(folder / "packs")
    return {
        "files": taken.files,
        "raw_bytes": taken.raw_bytes,
        "added_bytes": taken.added_bytes,
        "node_bytes": taken.node_bytes,
        "packs": len(packs),
        "stored_bytes": sum(packs),
    }


def _manifest_bytes(folder: Path) -> int:
    return sum(_sizes(folder / "backups"))


def _sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
