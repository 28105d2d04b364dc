"""Writing a backup's files: every blob checked as it is read, the control file last, one sync at the end."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

from safepoint import errors
from safepoint.model.backup import BackupFile, BackupManifest
from safepoint.repository import Repository

CONTROL_FILE = "global/pg_control"
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600

_TELL_EVERY = 4 * 1024 * 1024


def write_files(repository: Repository, manifest: BackupManifest, directory: Path, tell: Callable[[int], None]) -> int:
    """Every directory and file of the backup is below `directory`, durable; bytes written.

    `directory` holds nothing of these names yet. RP004 and RP005 name what is damaged; RC002 when the disk is full.
    """
    others = [file for file in manifest.files if file.path != CONTROL_FILE]
    control = [file for file in manifest.files if file.path == CONTROL_FILE]
    with disk_errors(directory):
        for path in sorted(manifest.directories):
            (directory / path).mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        _write_all(repository, others, directory, tell)
        sync_filesystem(directory)
        # A server starts from pg_control: it must not be there while anything else is missing.
        _write_all(repository, control, directory, lambda _: None)
        sync_filesystem(directory)
    return manifest.raw_bytes


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
                errors.run("make room and run the same command again" if is_full else "see the system's log"),
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


def _write_all(
    repository: Repository, files: Sequence[BackupFile], directory: Path, tell: Callable[[int], None]
) -> None:
    blobs = iter(repository.read_blobs(ref for file in files for ref in file.blobs))
    done = told = 0
    for file in files:
        _write_one(directory / file.path, (next(blobs) for _ in file.blobs))
        done += file.size
        if done - told >= _TELL_EVERY:
            told = done
            tell(done)
    tell(done)


def _write_one(path: Path, pieces: Iterable[bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for piece in pieces:
            _write_whole(file.fileno(), piece)


def _write_whole(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
