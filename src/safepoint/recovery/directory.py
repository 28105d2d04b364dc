"""The directory a restore writes into: who may have it, and the marker that says it is not finished.

Invariant: from before the first byte until after the last proof the marker is there; a directory with a marker holds
nothing of value and may be taken over by another restore of the same cluster, one without may not, unless a delta is
asked for and it is a stopped cluster of the same system identifier. The directories of tablespaces that lie elsewhere
are named in the marker before anything is written to them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from safepoint.files import sync_directory
from safepoint.model.json_value import JsonObject
from safepoint.postgres.binaries import Binaries
from safepoint.postgres.cluster import Cluster, adopt_cluster, is_running, stop
from safepoint.postgres.pid_file import live_pid_file
from safepoint.postgres.server_user import server_user
from safepoint.recovery.admission import (
    require_own_or_empty,
    require_same_cluster,
    require_space,
    require_stopped_cluster,
    require_unused,
    unusable,
)
from safepoint.recovery.marker import MARKER, Marker, read_marker, write_marker
from safepoint.recovery.places import TABLESPACES, remove
from safepoint.recovery.tablespaces import require_apart

__all__ = ["MARKER", "RestoreDirectory"]


@dataclass(slots=True)
class RestoreDirectory:
    """A target directory held by this process, with those of its tablespaces: no second restore works there."""

    path: Path
    _locks: dict[Path, int] = field(default_factory=dict[Path, int])

    @property
    def is_ours(self) -> bool:
        """Whether this process holds the directory."""
        return bool(self._locks)

    @property
    def is_finished(self) -> bool:
        """Whether the copy was handed over."""
        return not (self.path / MARKER).exists()

    @property
    def tablespaces(self) -> Mapping[int, Path]:
        """The directories of its tablespaces that lie elsewhere, by oid, while it is not finished; RC002."""
        marker = self._marker()
        return {} if marker is None else marker.tablespaces

    def claim(
        self,
        binaries: Binaries,
        note: JsonObject,
        needed_bytes: int,
        *,
        tablespaces: Mapping[int, Path] = {},
        tablespace_bytes: Mapping[int, int] = {},
        is_delta: bool = False,
    ) -> None:
        """The directory is ours and marked; no server runs there.

        It is empty but for what an earlier restore left, or, with `is_delta`, a cluster of the same identifier. Of
        `needed_bytes`, those of `tablespaces`, by oid, go elsewhere. RC002 when a directory is in use, holds anything
        else, is another cluster's or not to be written; no file was changed then.
        """
        try:
            self.admit(
                binaries,
                note,
                needed_bytes,
                tablespaces=tablespaces,
                tablespace_bytes=tablespace_bytes,
                is_delta=is_delta,
            )
            server_user(self.path, binaries).make_directory(self.path)
            self.hold()
            self._mark(binaries, note, tablespaces, is_delta=is_delta)
        except OSError as error:
            raise unusable(f"that {self.path} cannot be written ({error.strerror})", "a place to write") from error
        self.stop_server(binaries)

    def admit(
        self,
        binaries: Binaries,
        note: JsonObject,
        needed_bytes: int,
        *,
        tablespaces: Mapping[int, Path] = {},
        tablespace_bytes: Mapping[int, int] = {},
        is_delta: bool = False,
    ) -> None:
        """RC002 where `claim` would refuse as things are now; nothing is touched."""
        self._require_claimable(binaries, note, tablespaces, is_delta=is_delta)
        elsewhere = {path: tablespace_bytes.get(oid, 0) for oid, path in tablespaces.items()}
        require_space({self.path: needed_bytes - sum(elsewhere.values()), **elsewhere})

    def hold(self) -> None:
        """This process alone works in the directory and its tablespaces until it ends; RC002 when another does."""
        if self._locks:
            return
        self._hold(self.path)
        for path in self.tablespaces.values():
            if path.is_dir():
                self._hold(path)

    def release(self) -> None:
        """Another process may work in the directory."""
        while self._locks:
            os.close(self._locks.popitem()[1])

    def clear(self) -> None:
        """Nothing but the marker is left, and the tablespaces are empty."""
        _empty(self.tablespaces.values())
        for entry in list(self.path.iterdir()):
            if entry.name != MARKER:
                remove(str(entry))

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

    def _mark(self, binaries: Binaries, note: JsonObject, tablespaces: Mapping[int, Path], *, is_delta: bool) -> None:
        """The marker is there, and the tablespaces' directories are, held; not held any more when it is not."""
        try:
            # Until we held it, another restore may have claimed the directory, and even finished.
            self._require_claimable(binaries, note, tablespaces, is_delta=is_delta)
            # What an earlier restore put elsewhere would be forgotten with its marker.
            _empty(path for path in self.tablespaces.values() if path not in tablespaces.values())
            write_marker(self.path, note, tablespaces)
            for path in tablespaces.values():
                server_user(path, binaries).make_directory(path)
                self._hold(path)
        except BaseException:
            self.release()
            raise

    def _require_claimable(
        self, binaries: Binaries, note: JsonObject, tablespaces: Mapping[int, Path], *, is_delta: bool
    ) -> None:
        marker = self._marker()
        identifier = str(note["system_identifier"])
        if marker is not None:
            require_same_cluster(self.path, marker.system_identifier, identifier)
        elif is_delta and (self.path / "PG_VERSION").exists():
            require_stopped_cluster(self.path, binaries, identifier)
        else:
            require_unused(self.path)
        require_apart(self.path, tablespaces)
        own = {} if marker is None else dict(marker.tablespaces)
        for oid, path in tablespaces.items():
            is_own = own.get(oid) == path or (is_delta and self._is_linked(oid, path))
            require_own_or_empty(path, binaries.version.major, is_own=is_own)

    def _is_linked(self, oid: int, path: Path) -> bool:
        """Whether the cluster that is there has this tablespace in this very directory."""
        link = self.path / TABLESPACES / str(oid)
        return link.is_symlink() and link.resolve() == path.resolve()

    def _marker(self) -> Marker | None:
        try:
            return read_marker(self.path)
        except (OSError, ValueError) as error:
            raise unusable(f"an unreadable {self.path / MARKER} ({error})", "the marker of a restore") from error

    def _hold(self, path: Path) -> None:
        if path in self._locks:
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise unusable(f"{path} held by another restore", "it free") from error
        self._locks[path] = descriptor


def _empty(directories: Iterable[Path]) -> None:
    """Nothing is below these, as far as they are there."""
    for directory in directories:
        if directory.is_dir() and not directory.is_symlink():
            for entry in list(directory.iterdir()):
                remove(str(entry))
