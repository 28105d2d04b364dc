"""Writing a backup's files: every blob checked as it is read, the control file last, one sync at the end."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safepoint import errors
from safepoint.model.backup import BackupManifest
from safepoint.recovery.file_writer import FILE_MODE, FileWriter
from safepoint.repository import BackupFiles, Entry, EntryKind, Repository

CONTROL_FILE = "global/pg_control"
DIRECTORY_MODE = 0o700

_TELL_EVERY = 4 * 1024 * 1024


def write_files(repository: Repository, manifest: BackupManifest, directory: Path, tell: Callable[[int], None]) -> int:
    """Every directory and file of the backup is below `directory`, durable; bytes written.

    `directory` holds nothing of these names yet. RP004 and RP005 name what is damaged; RC002 when the disk is full.
    """
    files = repository.files(manifest)
    control: list[Entry] = []
    with disk_errors(directory):
        written = _write_all(files, _made(files.entries(), directory, control), directory, tell)
        sync_filesystem(directory)
        # A server starts from pg_control: it must not be there while anything else is missing.
        written += _write_all(files, control, directory, lambda _: None)
        sync_filesystem(directory)
    if written != manifest.raw_bytes:
        raise errors.RP005.error(
            f"found {written} bytes in the files of {manifest.id}, expected {manifest.raw_bytes} by its manifest",
            changed="the directory is marked as half restored",
        )
    return written


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


def _made(entries: Iterable[Entry], directory: Path, control: list[Entry]) -> Iterator[Entry]:
    """The files to be written, all but pg_control; directories and empty files are there before the next is given."""
    for entry in entries:
        path = directory / entry.path
        if entry.kind is EntryKind.DIRECTORY:
            path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        elif entry.path == CONTROL_FILE:
            control.append(entry)
        else:
            path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            if not entry.size:
                path.touch(FILE_MODE)
            yield entry


def _write_all(files: BackupFiles, entries: Iterable[Entry], directory: Path, tell: Callable[[int], None]) -> int:
    """How many bytes were written."""
    done = told = 0
    path = ""
    with FileWriter() as writer:
        for entry, _, piece in files.contents(entries):
            if entry.path != path:
                path = entry.path
                writer.begin(directory / path)
            writer.write(piece)
            done += len(piece)
            if done - told >= _TELL_EVERY:
                told = done
                tell(done)
    tell(done)
    return done
