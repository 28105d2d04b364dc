"""A backup as a plain data directory: what PostgreSQL's own tools read, and what starts by itself.

WAL [start, stop) is in pg_wal and ends there, `backup_label` beside it, and no signal file: the first start replays to
the backup's end and writes on, on the same timeline. Production's configuration stands where it was in the data
directory; what was kept elsewhere is in `production-config`, because no file may be there that the backup manifest
does not name.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from safepoint import errors
from safepoint.model.backup import Tablespace
from safepoint.model.lsn import Lsn
from safepoint.recovery.files import disk_errors, sync_filesystem
from safepoint.recovery.staging import HeldWal, stage_histories, stage_wal
from safepoint.recovery.targets import PinnedRecovery
from safepoint.repository import Repository


def require_mapped(tablespaces: Sequence[Tablespace], mapped: Collection[int]) -> None:
    """RC002 unless each has a directory: left in place, no server of production's configuration starts on them.

    Recovery ends at a tablespace that is no link unless `allow_in_place_tablespaces` is on
    (src/backend/access/transam/xlogrecovery.c, CheckTablespaceDirectory).
    """
    left = [space for space in tablespaces if space.oid not in mapped]
    if not left:
        return
    names = ", ".join(space.name for space in left)
    spelt = " ".join(f"--tablespace {shlex.quote(space.name)}=DIR" for space in left)
    raise errors.RC002.error(
        f"found no directory for the tablespaces {names}, expected one for each: left in the data directory, the "
        "export would not start by itself",
        hints=[errors.run(f"give each an absent or empty directory of its own: `{spelt}`")],
    )


def export_wal(
    repository: Repository, wal: HeldWal, pinned: PinnedRecovery, data: Path, tell: Callable[[int], None]
) -> None:
    """WAL up to the pinned end, and not a byte behind, is in pg_wal with the histories that lead there; durable.

    WL002, RP004, RP005 for WAL that is missing or damaged, RC002 for a disk that is full.
    """
    stage_wal(_cut(wal, pinned.end), data, tell)
    with disk_errors(data):
        stage_histories(repository, pinned, data)
        sync_filesystem(data)


def _cut(wal: HeldWal, end: Lsn) -> HeldWal:
    last = wal.path[-1]
    return replace(wal, path=(*wal.path[:-1], replace(last, end=min(last.end, end))))
