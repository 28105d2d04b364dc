"""The task that makes a repository of a base backup and of the WAL that follows it, for others to replay."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.data import below
from bench.stopwatch import Stopwatch
from bench.tasks.backups import commit
from bench.tasks.repositories import DIRECTORY_MODE, give_whole, new_repository
from safepoint.model.lsn import Lsn, WalSegment

_DATABASE = "bench"
_SEGMENT_BYTES = 16 * 1024 * 1024
_MANIFEST = "backup_manifest"


def wal_repository(arguments: Mapping[str, Any], watch: Stopwatch) -> Mapping[str, Any]:
    """A new repository with a backup of the files below `base`, as pg_basebackup wrote them, and all segments."""
    base, cluster = Path(arguments["base"]), arguments["cluster"]
    segments = [Path(path) for path in arguments["segments"]]
    repository = new_repository(Path(arguments["repository"]))
    with watch:
        began = datetime.now(UTC)
        directories, files = below(base)
        with repository.write_backup(database=_DATABASE, cluster=cluster) as writer:
            for path in directories:
                writer.ingest.directory(path, DIRECTORY_MODE)
            for path in files:
                if path != _MANIFEST:
                    give_whole(writer.ingest, base, path)
            for path in segments:
                segment = WalSegment.parse(path.name, _SEGMENT_BYTES)
                repository.put_wal_segment(cluster, segment, path.read_bytes(), history=b"", mark=None)
            taken = writer.ingest.finish()
            commit(writer, taken, cluster, began=began, database=_DATABASE, wal=_range(base))
    return {"segments": len(segments)}


def _range(base: Path) -> tuple[Lsn, Lsn]:
    """The WAL that the backup needs, by the server's own word."""
    (found,) = json.loads((base / _MANIFEST).read_text())["WAL-Ranges"]
    return Lsn.parse(found["Start-LSN"]), Lsn.parse(found["End-LSN"])
