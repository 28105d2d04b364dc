"""The resident pusher: answers `safepoint-wal`, and has done most of the work before it is asked.

Invariant: `ok` is said after every required repository has been asked, in this very request, for the bytes of the open
file that came with it. There is no queue: a store that is out is told to PostgreSQL, which keeps the file.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillAtWork
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from safepoint import errors
from safepoint.backup.archive.ahead import AheadOfRequests
from safepoint.backup.archive.archive import WalArchive
from safepoint.backup.archive.socket_place import listening
from safepoint.backup.archive.wal_buffers import WalBuffers
from safepoint.backup.archive.wal_file import KEPT
from safepoint.backup.archive.wire import GREETING, NO, OK, WAIT, WAIT_SECONDS, is_trusted
from safepoint.errors import SafepointError

DEFAULT_JOBS = 2
_POLL_SECONDS = 0.2
_REQUEST_SECONDS = 10.0
_ANSWERERS = 4
_LONGEST_REQUEST = 512


class PusherObserver(Protocol):
    """Who is told while a pusher runs. Must not raise; called from several threads."""

    def acknowledged(self, name: str) -> None:
        """The file is durable in every required repository, and PostgreSQL was told so."""
        ...

    def troubled(self, error: SafepointError) -> None:
        """A file could not be pushed; PostgreSQL keeps it and asks again."""
        ...


@dataclass(slots=True, kw_only=True)
class Pusher:
    """Serves one data directory until `stop` is set."""

    archive: WalArchive
    path: Path
    observer: PusherObserver
    jobs: int = DEFAULT_JOBS
    stop: threading.Event = field(default_factory=threading.Event)
    _buffers: WalBuffers = field(default_factory=WalBuffers, init=False)

    def run(self) -> None:
        """Returns once `stop` was set and what was asked for until then is answered; WL010, CF007."""
        ahead = AheadOfRequests(self.archive, self.jobs, self._buffers, self.observer.troubled)
        owner = self.archive.data.owner
        with (
            listening(self.path, owner) as listener,
            ThreadPoolExecutor(_ANSWERERS, thread_name_prefix="answer") as pool,
        ):
            listener.settimeout(_POLL_SECONDS)
            try:
                while not self.stop.is_set():
                    ahead.look()
                    with suppress(TimeoutError):
                        connection, _ = listener.accept()
                        pool.submit(self._serve, connection, ahead)
            finally:
                ahead.close()
        for repository in self.archive.repositories:
            repository.flush_journal()

    def _serve(self, connection: socket.socket, ahead: AheadOfRequests) -> None:
        # Whatever happens to a connection ends it, and without `ok` nothing is acknowledged.
        with connection, suppress(OSError):
            connection.settimeout(_REQUEST_SECONDS)
            if not is_trusted(connection, self.archive.data.owner):
                return
            request, descriptors = _receive(connection)
            try:
                self._answer(connection, request, descriptors, ahead)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _answer(
        self, connection: socket.socket, request: bytes, descriptors: list[int], ahead: AheadOfRequests
    ) -> None:
        if not request.startswith(GREETING) or not request.endswith(b"\n") or len(descriptors) != 1:
            connection.sendall(NO + b"found a request of another version of safepoint-wal, expected this one's\n")
            return
        name = os.fsdecode(request.removeprefix(GREETING)[:-1])
        try:
            _waited_for(_started(partial(self._acknowledge, name, descriptors[0], ahead)), connection)
        except Exception as error:  # noqa: BLE001 - what surprises us is told to PostgreSQL, too
            told = error if isinstance(error, SafepointError) else _surprise(error)
            self.observer.troubled(told)
            connection.sendall(NO + _in_words(told))
        else:
            connection.sendall(OK)
            self.observer.acknowledged(name)
            ahead.look()

    def _acknowledge(self, name: str, descriptor: int, ahead: AheadOfRequests) -> None:
        """The open file is durable in every required repository."""
        _require_its_own(name, descriptor, self.archive.data.wal / name)
        pushed = ahead.pushed(name)
        is_pushed = pushed is not None and pushed.result()
        with self._buffers.content(descriptor) as content:
            (self.archive.acknowledge if is_pushed else self.archive.push)(name, content)
        ahead.answered(name)


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """The request's line, and the open files that came with it."""
    request, descriptors, _, _ = socket.recv_fds(connection, _LONGEST_REQUEST, 1)
    while request and not request.endswith(b"\n") and len(request) < _LONGEST_REQUEST:
        more = connection.recv(_LONGEST_REQUEST - len(request))
        if not more:
            break
        request += more
    return request, list(descriptors)


def _started(work: Callable[[], None]) -> Future[None]:
    """The work in a thread of its own, so that whoever waits for it can say so."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the future is waited for
            future.set_exception(error)

    threading.Thread(target=run, name="acknowledge", daemon=True).start()
    return future


def _waited_for(future: Future[None], connection: socket.socket) -> None:
    """The work is done, or what it raised; meanwhile the other end hears from us."""
    is_heard = True
    while True:
        try:
            return future.result(WAIT_SECONDS)
        except StillAtWork:
            if future.done():
                raise
            if is_heard:
                try:
                    connection.sendall(WAIT)
                except OSError:  # it gave up; the work is finished all the same, before its file is closed
                    is_heard = False


def _require_its_own(name: str, descriptor: int, path: Path) -> None:
    """WL001 unless the open file is the one of this name in the data directory that is served."""
    try:
        is_same = os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        is_same = False
    if not is_same:
        raise errors.WL001.error(
            f"found a file {name} that is not {path}, expected a file of the data directory that this pusher serves",
            changed=KEPT,
            hints=[
                errors.ask("was the configuration of another server copied, with its --socket?"),
                errors.run("give each server a pusher of its own: `safepoint wal archive DATABASE --data DIR`"),
            ],
        )


def _surprise(error: Exception) -> SafepointError:
    return errors.IN001.error(
        f"found {type(error).__name__}: {error}, expected none",
        changed="the file may or may not be stored, and the server was told to keep it",
        hints=[errors.ask("can the file be read, and is the pusher not being stopped just now?")],
    )


def _in_words(error: SafepointError) -> bytes:
    """For the server's log."""
    lines = [
        f"error {error.spec.code}: {error.message}",
        error.changed,
        *(f"hint: {hint.text}" for hint in error.hints),
    ]
    return "\n".join(lines).encode() + b"\n"
