"""The directory a restore writes into: who may have it, and the marker that says it is not finished.

Invariant: from before the first byte until after the last proof the marker is there; a directory with a marker holds
nothing of value and may be taken over by another restore of the same cluster, one without may not.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safepoint import errors
from safepoint.files import DRAFT_SUFFIX, sync_directory, write_durably
from safepoint.model.json_value import JsonObject
from safepoint.model.measures import format_bytes
from safepoint.postgres.binaries import Binaries
from safepoint.postgres.cluster import Cluster, adopt_cluster, is_running, stop
from safepoint.postgres.pid_file import live_pid_file
from safepoint.postgres.server_user import server_user

MARKER = "safepoint.restoring"

_NOT_FOR_A_SHELL = frozenset('"$`\\\n')
"""pg_ctl starts the server through a shell, with the directory in double quotes (src/bin/pg_ctl/pg_ctl.c)."""


@dataclass(slots=True)
class RestoreDirectory:
    """A target directory held by this process: no second restore works there meanwhile."""

    path: Path
    _lock: int | None = field(default=None)

    @property
    def is_ours(self) -> bool:
        """Whether this process holds the directory."""
        return self._lock is not None

    @property
    def is_finished(self) -> bool:
        """Whether the copy was handed over."""
        return not (self.path / MARKER).exists()

    def claim(self, binaries: Binaries, note: JsonObject, needed_bytes: int) -> None:
        """The directory is ours, empty but for the marker or what an earlier restore left; no server runs there.

        RC002 when it is in use, not empty, another cluster's or not to be written; no file was changed then.
        """
        try:
            self._require_claimable(note)
            _require_space(self.path, needed_bytes)
            server_user(self.path, binaries).make_directory(self.path)
            self.hold()
            self._mark(note)
        except OSError as error:
            raise _unusable(f"that {self.path} cannot be written ({error.strerror})", "a place to write") from error
        self.stop_server(binaries)

    def hold(self) -> None:
        """This process alone works in the directory until it ends; RC002 when another does."""
        if self._lock is not None:
            return
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise _unusable(f"{self.path} held by another restore", "it free") from error
        self._lock = descriptor

    def release(self) -> None:
        """Another process may work in the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def clear(self) -> None:
        """Nothing but the marker is left."""
        for entry in list(self.path.iterdir()):
            if entry.name == MARKER:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def finish(self) -> None:
        """The marker is gone: the directory holds a finished, proven cluster."""
        with suppress(FileNotFoundError):
            (self.path / MARKER).unlink()
        sync_directory(self.path)

    def cluster(self, binaries: Binaries) -> Cluster:
        """The cluster restored here."""
        return adopt_cluster(self.path, binaries)

    def stop_server(self, binaries: Binaries) -> None:
        """No server runs on the directory; one can only be what an interrupted restore left."""
        if live_pid_file(self.path) is None:
            return
        cluster = self.cluster(binaries)
        if is_running(cluster):
            stop(cluster, mode="immediate")

    def _mark(self, note: JsonObject) -> None:
        """The marker is there; not held any more when it is not."""
        try:
            # Until we held it, another restore may have claimed the directory, and even finished.
            self._require_claimable(note)
            write_durably(self.path / MARKER, json.dumps(note, indent=1).encode())
        except BaseException:
            self.release()
            raise

    def _require_claimable(self, note: JsonObject) -> None:
        if (self.path / MARKER).exists():
            self._require_same_cluster(note)
        else:
            _require_unused(self.path)

    def _require_same_cluster(self, note: JsonObject) -> None:
        found = _read_marker(self.path / MARKER)
        if found.get("system_identifier") != note["system_identifier"]:
            raise _unusable(
                f"{self.path} half restored from cluster {found.get('system_identifier')}",
                f"it empty or half restored from cluster {note['system_identifier']}",
            )


def _read_marker(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _unusable(f"an unreadable {path} ({error})", "the marker of a restore") from error


def _require_unused(path: Path) -> None:
    if any(letter in _NOT_FOR_A_SHELL for letter in str(path.resolve())):
        raise _unusable(f"the path {str(path)!r}", 'one without any of " $ ` \\ and line breaks: pg_ctl needs a shell')
    if live_pid_file(path) is not None:
        raise _unusable(f"a running server on {path}", "an absent or empty directory")
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise _unusable(f"{path} to be no directory", "an absent or empty directory")
    if path.is_dir() and not all(_is_marker_draft(entry) for entry in path.iterdir()):
        kind = "a data directory" if (path / "PG_VERSION").exists() else "files"
        raise _unusable(f"{kind} in {path}", "an absent or empty directory")
    if path.is_dir() and path.is_mount():
        raise _unusable(f"{path} to be a mount point", "a directory below it")
    for parent in _parents(path):
        if (parent / "PG_VERSION").exists():
            raise _unusable(f"{path} within the data directory {parent}", "a directory of its own")


def _is_marker_draft(entry: Path) -> bool:
    """Whether it is what a restore leaves that is killed while it writes its first file."""
    return entry.name == MARKER + DRAFT_SUFFIX and entry.is_file() and not entry.is_symlink()


def _parents(path: Path) -> Iterator[Path]:
    yield from path.resolve().parents


def _require_space(path: Path, needed: int) -> None:
    place = next(parent for parent in (path, *_parents(path)) if parent.is_dir())
    # A directory that may be claimed holds nothing, or what `clear` will take away.
    free = shutil.disk_usage(place).free + _allocated_bytes(path)
    if free < needed:
        raise _unusable(f"{format_bytes(free)} free at {place}", f"{format_bytes(needed)} for files and WAL")


def _allocated_bytes(path: Path) -> int:
    """What the files below take of the disk; links are not followed, files that vanish meanwhile count nothing."""
    found = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):
                found += os.lstat(os.path.join(folder, name)).st_blocks * 512  # noqa: PTH118 - of many thousands
    return found


def _unusable(found: str, expected: str) -> errors.SafepointError:
    return errors.RC002.error(
        f"found {found}, expected {expected}",
        hints=[
            errors.ask("is a cluster there that is still wanted?"),
            errors.run("restore into a fresh directory: `--into DIR`"),
        ],
    )
