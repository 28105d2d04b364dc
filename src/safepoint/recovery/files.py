"""Writing a backup's files: every blob checked as it is read, the control file last, one sync at the end.

Whatever is written, PostgreSQL's own backup manifest is made of it on the way. A server starts from pg_control: it is
not there while anything else is missing, and in a directory that had one it goes first.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safepoint import errors
from safepoint.kernel import crc32c
from safepoint.model.backup import BackupManifest
from safepoint.recovery.backup_manifest import ManifestMaker
from safepoint.recovery.delta import write_differing
from safepoint.recovery.file_writer import FileWriter
from safepoint.recovery.listed import Listed
from safepoint.recovery.marker import MARKER
from safepoint.recovery.places import Places
from safepoint.recovery.surplus import remove_surplus
from safepoint.recovery.tablespaces import give_to_owner
from safepoint.recovery.whole_files import write_whole
from safepoint.repository import BackupFiles, Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What stands there now, but for the manifest that was made; of its `bytes`, those that the repository gave."""

    bytes: int
    fetched_bytes: int
    files: int


def write_files(
    repository: Repository,
    manifest: BackupManifest,
    directory: Path,
    tell: Callable[[int], None],
    *,
    tablespaces: Mapping[int, Path] = {},
    is_delta: bool = False,
) -> Written:
    """Every directory and file of the backup is below `directory`, durable, and nothing else but a restore's marker.

    Tablespaces in `tablespaces`, by oid, are written to these directories and linked; others stay below `pg_tblspc`.
    `tell` is given how many bytes are done. RP004 and RP005 name what is damaged; RC002 when the disk is full.

    With `is_delta` the directory, which must be marked as half restored, may hold anything, also what a killed call
    left: only what differs is fetched (`delta`). Without, it holds nothing of these names yet.
    """
    if is_delta and not (directory / MARKER).exists():
        raise errors.RC002.error(f"found no {MARKER} in {directory}, expected one before anything there is overwritten")
    files = repository.files(manifest)
    places = Places(directory, tablespaces, lambda path: files.find(path) is not None)
    listed = Listed(files)
    with disk_errors(directory):
        if is_delta:
            remove_surplus(files, places)
        places.link_tablespaces()
        with ManifestMaker(directory, manifest) as made:
            if is_delta:
                fetched = write_differing(files, repository.comparison(), listed, places, made, tell)
            else:
                fetched = write_whole(files, listed, places, made, tell)
            _require_size(listed, manifest)
            fetched += _finish(files, listed, places, made)
    return Written(bytes=made.bytes, fetched_bytes=fetched, files=made.files)


@contextmanager
def disk_errors(directory: Path) -> Generator[None]:
    """A full disk and a failing one become RC002."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise errors.RC002.error(
            f"found that {directory} cannot be written ({error.strerror}), expected room and the right to write",
            changed="the directory is half restored and marked as such",
            hints=[
                errors.run("make room and run the same command again")
                if is_full
                else errors.ask("is the disk failing? The system's log says more"),
            ],
        ) from error


def sync_filesystem(path: Path) -> None:
    """Everything written to the file system that holds `path` is durable; OSError when it cannot be made so."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:
            os.sync()
        elif syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)


def _finish(files: BackupFiles, listed: Listed, places: Places, made: ManifestMaker) -> int:
    """The manifest is whole, everything is durable, and only then is the control file there; its bytes."""
    control = listed.control
    content = b"" if control is None else b"".join(bytes(piece) for _, _, piece in files.contents([control]))
    if control is not None:
        made.add(control.path, len(content), crc32c(content))
    made.finish()
    for path in places.tablespaces.values():
        give_to_owner(path)
    _sync(places)
    if control is not None:
        places.make_parent(control.path)
        with FileWriter() as writer:
            writer.begin(places.path_of(control.path), control.mode)
            writer.write(content)
        sync_filesystem(places.directory)
    return len(content)


def _sync(places: Places) -> None:
    """Each file system that anything was written to, once."""
    by_device = {path.stat().st_dev: path for path in (places.directory, *places.tablespaces.values())}
    for path in by_device.values():
        sync_filesystem(path)


def _require_size(listed: Listed, manifest: BackupManifest) -> None:
    if listed.bytes != manifest.raw_bytes:
        raise errors.RP005.error(
            f"found {listed.bytes} bytes in the files of {manifest.id}, expected {manifest.raw_bytes} by its manifest",
            changed="the directory is marked as half restored",
        )
