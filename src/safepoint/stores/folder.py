"""A store in a folder of a file system, with every sync that durability needs.

An object is written to a temporary file below `tmp/`, synced, and given its name by link(), which fails when the name
exists: that is the conditional put, also between processes. Then every directory that led to a new name is synced,
once for each one this process has not seen before, because another process may have made it without syncing yet.
Not durable puts keep their files open until `barrier()` syncs them: the error of a failed write-back is only sure to
reach the descriptor that wrote.

Nothing in the folder but regular files in directories is ever read or followed: a link below the root would lead
wherever its maker likes, and a pipe would keep its reader waiting for ever. The root itself may be a link.

What a dead writer leaves is a temporary file that no listing shows; it is removed by a later writer once it is an hour
old. (A writer that sleeps longer than that fails to link, and nothing else happens.)
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path

from safepoint import errors
from safepoint.files import sync_directory, write_all, write_past_cache
from safepoint.model.measures import format_bytes
from safepoint.stores.files import (
    DIRECTORY_MODE,
    FILE_MODE,
    Irregular,
    free_bytes,
    identity_of,
    make_path,
    open_folder,
    open_regular,
    read_range,
)
from safepoint.stores.port import Capabilities, Data, NotFound, check_name, check_prefix

_TEMPORARY_PREFIX = ".put-"
_STALE_SECONDS = 3600
_LARGE_BYTES = 1024 * 1024  # smaller ones are read again sooner, and cost little
_MOST_UNSYNCED_FILES = 64
_MOST_UNSYNCED_BYTES = 128 * 1024 * 1024  # early enough that the disk works while the next packs are compressed
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class FolderStore:
    """Objects as files below `root`, which the first put makes if it was absent when the store was opened."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._identity = identity_of(self._root)
        self._lock = threading.RLock()
        self._is_prepared = False
        self._known_directories: set[Path] = set()
        self._unsynced_directories: set[Path] = set()
        self._unsynced_files: deque[tuple[int, int]] = deque()
        self._failure: OSError | None = None
        weakref.finalize(self, _close_all, self._unsynced_files)

    def __repr__(self) -> str:
        return f"FolderStore({str(self._root)!r})"

    def __str__(self) -> str:
        return f"file:{self._root}"

    @property
    def capabilities(self) -> Capabilities:
        """As the port says: link(2) is the condition."""
        return Capabilities()

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        """As the port says. Two syncs for a durable put into a known directory."""
        target = self._root / check_name(name)
        with self._reported(f"store {name}", needed=len(data)):
            self._prepare_root()
            self._make_directories(target.parent)
            descriptor, is_new = self._place(target, data, durable=durable)
            with self._lock:
                self._unsynced_directories.add(target.parent)
                if durable:
                    self._sync_directories(descriptor)
                else:
                    self._defer(descriptor, len(data))
        return is_new

    def get(self, name: str) -> bytes:
        """As the port says."""
        with self._reported(f"read {name}"), self._opened(name) as descriptor:
            return read_range(descriptor, 0, os.fstat(descriptor).st_size)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """As the port says."""
        with self._reported(f"read {name}"), self._opened(name) as descriptor:
            return read_range(descriptor, offset, max(0, min(length, os.fstat(descriptor).st_size - offset)))

    def list(self, prefix: str) -> Iterator[str]:
        """As the port says."""
        folder = check_prefix(prefix).rpartition("/")[0]
        with self._reported(f"list {prefix or 'everything'}"):
            yield from self._walk(folder, prefix)

    def size(self, name: str) -> int:
        """As the port says."""
        with self._reported(f"look at {name}"), self._opened(name) as descriptor:
            return os.fstat(descriptor).st_size

    def delete(self, name: str) -> None:
        """As the port says."""
        path = self._root / check_name(name)
        with self._reported(f"delete {name}"):
            try:
                with open_folder(self._root, path.parent.relative_to(self._root).parts) as folder:
                    os.unlink(path.name, dir_fd=folder)
            except _ABSENT as error:
                raise NotFound(name) from error
            finally:
                if path.parent.is_dir():
                    with self._lock:
                        self._unsynced_directories.add(path.parent)

    def barrier(self) -> None:
        """As the port says. Once a write-back has failed it raises for ever: nobody knows what was lost."""
        with self._reported("sync"), self._lock:
            while self._unsynced_files:
                self._sync_oldest_file()
            if self._failure is not None:
                raise self._failure
            self._sync_directories(None)

    def _prepare_root(self) -> None:
        """The root is there, and it is the folder that this store was opened on, not a bare mount point."""
        if self._identity is None:
            make_path(self._root)
            self._identity = identity_of(self._root)
        elif identity_of(self._root) != self._identity:
            raise FileNotFoundError(errno.ENOENT, "the folder is no longer the one that was opened", str(self._root))
        if not self._is_prepared:
            with self._lock:
                self._make_directories(self._root / "tmp")
                _remove_stale_files(self._root / "tmp")
                self._is_prepared = True

    def _make_directories(self, directory: Path) -> None:
        if directory in self._known_directories:
            return
        if directory != self._root:
            self._make_directories(directory.parent)
            with contextlib.suppress(FileExistsError):
                directory.mkdir(DIRECTORY_MODE)
            if directory.is_symlink():
                raise Irregular(directory.relative_to(self._root).as_posix(), "a symbolic link")
            with self._lock:
                self._unsynced_directories.add(directory.parent)
        self._known_directories.add(directory)

    def _place(self, target: Path, data: Data, *, durable: bool) -> tuple[int, bool]:
        """A descriptor of the file that now has the name, its data synced if `durable`, and whether it is ours."""
        temporary = self._root / "tmp" / f"{_TEMPORARY_PREFIX}{secrets.token_hex(16)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            (write_past_cache if len(data) >= _LARGE_BYTES else write_all)(descriptor, data)
            if durable:
                os.fdatasync(descriptor)
            os.link(temporary, target)
        except FileExistsError:
            os.close(descriptor)
            return self._adopt(target, durable=durable), False
        except BaseException:
            os.close(descriptor)
            raise
        finally:
            temporary.unlink(missing_ok=True)
        return descriptor, True

    def _adopt(self, target: Path, *, durable: bool) -> int:
        """Somebody else's file may not be synced yet: its name in our listing is no proof that it would survive."""
        descriptor = open_regular(self._root, target.relative_to(self._root).parts)
        try:
            if durable:
                os.fdatasync(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _defer(self, descriptor: int, size: int) -> None:
        self._unsynced_files.append((descriptor, size))
        while (
            len(self._unsynced_files) > _MOST_UNSYNCED_FILES
            or sum(size for _, size in self._unsynced_files) > _MOST_UNSYNCED_BYTES
        ):
            self._sync_oldest_file()

    def _sync_oldest_file(self) -> None:
        descriptor, _ = self._unsynced_files.popleft()
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            self._failure = self._failure or error
            raise
        finally:
            os.close(descriptor)

    def _sync_directories(self, finished: int | None) -> None:
        """Under the lock, so that nobody returns while a directory it relies on is still being synced."""
        if finished is not None:
            os.close(finished)
        for directory in tuple(self._unsynced_directories):
            sync_directory(directory)
            self._unsynced_directories.discard(directory)

    @contextlib.contextmanager
    def _opened(self, name: str) -> Generator[int]:
        try:
            descriptor = open_regular(self._root, tuple(check_name(name).split("/")))
        except _ABSENT as error:
            raise NotFound(name) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _walk(self, folder: str, prefix: str) -> Iterator[str]:
        try:
            with (
                open_folder(self._root, tuple(folder.split("/")) if folder else ()) as opened,
                os.scandir(opened) as entries,
            ):
                found = sorted(_listed_as(folder, entry) for entry in entries if not entry.name.startswith("."))
        except _ABSENT:
            return
        for path in found:
            if not path.endswith("/"):
                if path.startswith(prefix):
                    yield path
            elif path.startswith(prefix) or prefix.startswith(path):
                yield from self._walk(path[:-1], prefix)

    @contextlib.contextmanager
    def _reported(self, doing: str, *, needed: int = 0) -> Generator[None]:
        try:
            yield
        except Irregular as error:
            raise _irregular(doing, error) from error
        except OSError as error:
            if error.errno in _FULL:
                raise self._full(doing, needed) from error
            raise self._unreachable(doing, error) from error

    def _full(self, doing: str, needed: int) -> errors.SafepointError:
        free = free_bytes(self._root)
        return errors.ST002.error(
            f"cannot {doing}: found {format_bytes(free)} free at {self._root}, expected {format_bytes(needed)} or more",
            changed="nothing was stored",
            hints=[
                errors.ask("is the disk or the user's quota full?"),
                errors.run(f"make room, then repeat: `df -h {self._root}`"),
            ],
        )

    def _unreachable(self, doing: str, error: OSError) -> errors.SafepointError:
        found = error.strerror or str(error)
        return errors.ST001.error(
            f"cannot {doing}: found {found.lower()} at {error.filename or self._root}, expected a usable folder",
            changed="nothing was stored",
            hints=[
                errors.ask("is the disk mounted, and may this user read and write there?"),
                errors.run(f"look at it: `ls -ld {self._root}; df {self._root}`"),
            ],
        )


def _irregular(doing: str, error: Irregular) -> errors.SafepointError:
    return errors.RP005.error(
        f"cannot {doing}: found {error.found} at {error.place}, expected regular files in directories",
        hints=[
            errors.ask("who else writes to this folder, or moved a part of it elsewhere and left a link?"),
            errors.run(f"remove {error.place}, and put back what belongs there from another copy of this repository"),
        ],
    )


def _remove_stale_files(folder: Path) -> None:
    oldest = time.time() - _STALE_SECONDS
    for path in folder.glob(f"{_TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def _listed_as(folder: str, entry: os.DirEntry[str]) -> str:
    """Its name; a directory ends in a slash, so that sorting gives the order of whole names.

    Links, pipes and devices are listed like files, because their names are taken, and are damage when they are read.
    """
    path = f"{folder}/{entry.name}" if folder else entry.name
    return f"{path}/" if entry.is_dir(follow_symlinks=False) else path


def _close_all(files: deque[tuple[int, int]]) -> None:
    while files:
        os.close(files.popleft()[0])
