"""Writing all files of a backup into a directory that has none of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from safepoint.recovery.backup_manifest import ManifestMaker
from safepoint.recovery.file_writer import FileWriter
from safepoint.recovery.places import FILE_MODE, PERMISSIONS, Places
from safepoint.repository import BackupFiles, Entry, EntryKind

TELL_EVERY = 4 * 1024 * 1024


def write_whole(
    files: BackupFiles, entries: Iterable[Entry], places: Places, made: ManifestMaker, tell: Callable[[int], None]
) -> int:
    """They are with the kernel or the disk and in the manifest that is being made; how many bytes. OSError."""
    done = told = 0
    current: Entry | None = None
    with FileWriter() as writer:
        for entry, _, piece in files.contents(_begun(entries, places, made)):
            if current is None or entry.path != current.path:
                _end(writer, current, places, made)
                current = entry
                writer.begin(places.path_of(places.name_of(entry.path)), entry.mode)
            writer.write(piece)
            done += len(piece)
            if done - told >= TELL_EVERY:
                told = done
                tell(done)
        _end(writer, current, places, made)
    tell(done)
    return done


def make_empty(path: str, mode: int) -> None:
    """A file without content is there, and was not before."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        os.fchmod(descriptor, mode & PERMISSIONS | FILE_MODE)
    finally:
        os.close(descriptor)


def _begun(entries: Iterable[Entry], places: Places, made: ManifestMaker) -> Iterator[Entry]:
    """The files that have content; directories and empty files are there before the next is given."""
    for entry in entries:
        if entry.kind is EntryKind.DIRECTORY:
            places.make_listed(entry)
            continue
        name = places.name_of(entry.path)
        places.make_parent(name)
        if entry.size:
            yield entry
        else:
            make_empty(places.path_of(name), entry.mode)
            made.add(name, 0, 0)


def _end(writer: FileWriter, entry: Entry | None, places: Places, made: ManifestMaker) -> None:
    if entry is not None:
        made.add(places.name_of(entry.path), entry.size, writer.end())
