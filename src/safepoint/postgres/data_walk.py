"""What of a data directory belongs to a backup: every file and directory but those a server makes anew. Read-only.

The server runs meanwhile: what vanishes while it is looked at was never there. Tablespaces are followed through the
links in `pg_tblspc`, and stand in the listing as directories there.

Source: src/backend/backup/basebackup.c (excludeDirContents, excludeFiles, sendDir), PostgreSQL 15 to 18.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safepoint.postgres.relation_path import Fork, holds_relations, is_temporary, relation_file

CONTROL_FILE = "global/pg_control"
"""Taken last, so that it is no older than any other file."""

EMPTY_DIRECTORIES = frozenset(
    {
        "pg_dynshmem",
        "pg_notify",
        "pg_replslot",
        "pg_serial",
        "pg_snapshots",
        "pg_stat_tmp",
        "pg_subtrans",
    }
)
"""Kept without what is in them."""

_WAL = "pg_wal"
_WAL_DIRECTORIES = ("archive_status", "summaries")
_TABLESPACES = "pg_tblspc"
_EXCLUDED = frozenset(
    {
        "backup_label",
        "backup_manifest",
        "current_logfiles.tmp",
        "postgresql.auto.conf.tmp",
        "postmaster.opts",
        "postmaster.pid",
        "tablespace_map",
    }
)
_EXCLUDED_PREFIXES = ("pg_internal.init", "pgsql_tmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file or directory: where it is, and its path in the listing; `size` is what it was a moment ago."""

    path: str
    source: str
    is_directory: bool
    mode: int
    size: int


def walk(data: Path, major: int) -> Generator[Found]:
    """What a backup holds of the directory, each directory before its content; all but CONTROL_FILE. OSError.

    A tablespace's location may hold directories of other majors, too: those are not this cluster's.

    Directories come in the order of their names, and so do the files of each, so that runs of pages are read as they
    lie on disk.
    """
    yield from _walk(str(data), "", f"PG_{major}_")


def _walk(source: str, path: str, version: str) -> Iterator[Found]:
    entries = _entries(source)
    unlogged = _unlogged(path, entries)
    for entry in entries:
        below = f"{path}/{entry.name}" if path else entry.name
        if below == CONTROL_FILE or _is_excluded(path, entry.name, version):
            continue
        found = _found(entry, below)
        if found is None or _is_unlogged(below, unlogged):
            continue
        yield found
        if found.is_directory:
            yield from _below(found, version)


def _below(directory: Found, version: str) -> Iterator[Found]:
    if directory.path in EMPTY_DIRECTORIES:
        return
    if directory.path == _WAL:
        for entry in _entries(directory.source):
            if entry.name in _WAL_DIRECTORIES and (found := _found(entry, f"{_WAL}/{entry.name}")) is not None:
                yield found
        return
    yield from _walk(directory.source, directory.path, version)


def _entries(source: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(source) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def _found(entry: os.DirEntry[str], path: str) -> Found | None:
    """None for what vanished, and for what is neither file nor directory."""
    with suppress(FileNotFoundError):
        status = entry.stat(follow_symlinks=_is_followed(entry, path))
        if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
            return Found(
                path=path,
                source=entry.path,
                is_directory=stat.S_ISDIR(status.st_mode),
                mode=stat.S_IMODE(status.st_mode),
                size=0 if stat.S_ISDIR(status.st_mode) else status.st_size,
            )
    return None


def _is_followed(entry: os.DirEntry[str], path: str) -> bool:
    """Links to tablespaces and to WAL are the server's own; a link to a file is configuration put elsewhere."""
    if path == _WAL or path.startswith(f"{_TABLESPACES}/"):
        return path.count("/") <= 1
    return "/" not in path and os.path.isfile(entry.path)  # noqa: PTH113 - tens of thousands of them


def _is_excluded(directory: str, name: str, version: str) -> bool:
    if name.startswith(_EXCLUDED_PREFIXES) or (not directory and name in _EXCLUDED):
        return True
    if directory.startswith(f"{_TABLESPACES}/") and directory.count("/") == 1:
        return not name.startswith(version)
    return holds_relations(directory) and is_temporary(name)


def _unlogged(directory: str, entries: list[os.DirEntry[str]]) -> frozenset[int]:
    """The relations of the directory that have an initialisation fork: the others are emptied at the next start."""
    if not holds_relations(directory):
        return frozenset()
    files = (relation_file(f"{directory}/{entry.name}") for entry in entries if "_init" in entry.name)
    return frozenset(file.number for file in files if file is not None and file.fork is Fork.INIT)


def _is_unlogged(path: str, unlogged: frozenset[int]) -> bool:
    if not unlogged:
        return False
    file = relation_file(path)
    return file is not None and file.number in unlogged and file.fork is not Fork.INIT
