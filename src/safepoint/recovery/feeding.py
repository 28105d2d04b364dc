"""The feeder: WAL of a pinned recovery, put into pg_wal segment by segment, ahead of replay within a window.

The server runs as a standby that has neither a restore command nor a primary and polls pg_wal, so that no process is
started for a segment and nothing but us ends recovery. Segments are opened by several threads and appear whole, by
rename, in the order of replay. What replay has left behind, the server removes at its restartpoints.

Nothing fed needs to be durable: after a crash the server begins at the restartpoint of its control file, and from
there everything is fed anew. A segment that is missing or does not open stops the server at once.
Source: PostgreSQL 15-18, src/backend/access/transam/xlogrecovery.c, WaitForWALToBecomeAvailable; ADR 11.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safepoint.model.lsn import Lsn, WalSegment
from safepoint.postgres.cluster import Cluster, is_running, stop
from safepoint.recovery.files import disk_errors
from safepoint.recovery.replay_position import is_position_shown, segment_being_read
from safepoint.recovery.staging import HeldWal

WINDOW_BYTES = 512 * 1024 * 1024
"""How far WAL lies ready ahead of replay; two segments at least, where segments are larger."""

_OPEN_BYTES = 64 * 1024 * 1024
_MOST_THREADS = 4
_LOOK_SECONDS = 0.02
_DRAFT = "safepoint.draft."


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeding:
    """What is fed: WAL from the segment of `since` on; up to `unwatched` without a word of how far replay is."""

    wal: HeldWal
    since: Lsn
    unwatched: Lsn
    window_bytes: int = WINDOW_BYTES


@contextmanager
def feeding(cluster: Cluster, what: Feeding) -> Generator[Feeder]:
    """WAL comes as replay needs it; whatever the feeder met is raised in place of what the server made of it.

    The server is stopped when the feeder fails, and not when the context ends. OSErrors of the disk are RC002.
    """
    feeder = Feeder(cluster, what)
    feeder.begin()
    try:
        yield feeder
    except BaseException as error:
        feeder.end()
        if feeder.failure is not None and isinstance(error, Exception):
            raise feeder.failure from error
        raise
    feeder.end()
    if feeder.failure is not None:
        raise feeder.failure


class Feeder:
    """A thread that feeds, and those that open segments for it; `replayed` tells it how far the server is."""

    def __init__(self, cluster: Cluster, what: Feeding) -> None:
        self.failure: Exception | None = None
        self.fed = what.since
        self._cluster = cluster
        self._what = what
        self._replayed = what.unwatched
        self._is_over = threading.Event()
        self._moved = threading.Event()
        self._thread = threading.Thread(target=self._run, name="safepoint-feeder", daemon=True)

    def begin(self) -> None:
        """The first segments are on their way; drafts of an earlier feeder are gone."""
        with disk_errors(self._cluster.data):
            (self._folder / "archive_status").mkdir(mode=0o700, parents=True, exist_ok=True)
            self._remove_drafts()
        self._cluster.user.own(self._folder)
        self._thread.start()

    def end(self) -> None:
        """Nothing more is fed; the threads have ended."""
        self._is_over.set()
        self._moved.set()
        self._thread.join()

    def replayed(self, lsn: Lsn) -> None:
        """The server has replayed up to here."""
        if lsn > self._replayed:
            self._replayed = lsn
            self._moved.set()

    @property
    def _folder(self) -> Path:
        return self._cluster.data / "pg_wal"

    def _run(self) -> None:
        try:
            with disk_errors(self._cluster.data):
                self._feed()
        except Exception as error:  # noqa: BLE001 - raised by `feeding`, in the thread that waits for the server
            self.failure = error
            self._stop_server()

    def _feed(self) -> None:
        segments = iter([segment for segment in self._what.wal.segments() if segment.end > self._what.since])
        ahead = max(1, min(_MOST_THREADS, _OPEN_BYTES // self._what.wal.segment_size))
        opened: deque[tuple[WalSegment, Future[Path]]] = deque()
        with ThreadPoolExecutor(ahead, thread_name_prefix="safepoint-wal") as pool:
            try:
                while not self._is_over.is_set():
                    while len(opened) <= ahead and (segment := next(segments, None)) is not None:
                        opened.append((segment, pool.submit(self._open, segment)))
                    if not opened:
                        break
                    self._put(*opened.popleft())
            finally:
                for _, future in opened:
                    future.cancel()
        self._remove_drafts()

    def _remove_drafts(self) -> None:
        for draft in self._folder.glob(f"{_DRAFT}*"):
            draft.unlink()

    def _open(self, segment: WalSegment) -> Path:
        """The segment's bytes in a draft, which belongs to the server's user."""
        draft = self._folder / f"{_DRAFT}{segment.name}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            content = memoryview(self._what.wal.read(segment))
            while content:
                content = content[file.write(content) :]
        self._cluster.user.own(draft)
        return draft

    def _put(self, segment: WalSegment, draft: Future[Path]) -> None:
        """The segment is there, once it is within the window; unless it is over before."""
        path = draft.result()
        while not self._is_over.is_set():
            if segment.start - self._position() < max(self._what.window_bytes, 2 * segment.size):
                path.replace(self._folder / segment.name)
                self.fed = segment.end
                return
            self._moved.wait(_LOOK_SECONDS)
            self._moved.clear()

    def _position(self) -> Lsn:
        """How far the server is known to be; where that cannot be seen before it lets anybody in, far enough."""
        if self._replayed <= self._what.unwatched:
            if not is_position_shown():
                return self.fed
            seen = segment_being_read(self._cluster.data, self._what.wal.segment_size)
            return max(self._replayed, seen or self._replayed)
        return self._replayed

    def _stop_server(self) -> None:
        """No server waits for what never comes: one may be starting just now, so until nobody waits for it."""
        while not self._is_over.is_set():
            if is_running(self._cluster):
                stop(self._cluster, mode="immediate")
            self._is_over.wait(_LOOK_SECONDS)


FeedOf = Callable[[Cluster], Feeding]
"""What is to be fed to a cluster as it stands on the disk now."""
