"""One shopper: a thread with one connection that shops for ever, and logs what the server answered and nothing more.

An acknowledged commit, one whose outcome is unknown, and an error are three different lines. Every action has exactly
one line, so that the time a shopper waited can be computed from the log alone.
"""

from __future__ import annotations

import os
import random
import socket
import time
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Final

import psycopg

from vivr_shop.urls import without_prisma_parameters

from .actions import Change, Memory, Visit, act, enter
from .log import stamp

if TYPE_CHECKING:
    from pathlib import Path

    from psycopg import Connection, Error

    from .log import Log
    from .statements import Statements

SURVIVABLE: Final = ("22", "23", "40", "42", "55", "57014")
"""SQLSTATEs, or their classes, after which the connection is used again. Read-only and shutdown are not among them."""

NO_ANSWER: Final = ("08", "57")
"""Classes that do not say whether a COMMIT took place."""

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0


class Shopper:
    """A shopper of one version, started by `start` and ended by `leave` and `join`."""

    def __init__(self, name: str, sql: Statements, url_file: Path, log: Log, rate: float) -> None:
        """Nothing runs yet. Rate is actions a second, 0 for as many as possible."""
        self.name = name
        self.failure: BaseException | None = None
        self._sql, self._url_file, self._log = sql, url_file, log
        self._interval = 1 / rate if rate else 0.0
        self._memory = Memory()
        self._dice = random.Random()
        self._leaving = Event()
        self._guard = Lock()
        self._connection: Connection | None = None
        self._warnings: list[str] = []
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """The shopper shops."""
        self._thread.start()

    def leave(self) -> None:
        """The shopper stops after what is being done now."""
        self._leaving.set()

    def join(self, seconds: float) -> bool:
        """Whether the shopper has stopped within so many seconds."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def sever(self) -> None:
        """The network connection is cut, so that a shopper who waits for an answer learns that none will come."""
        with self._guard, suppress(OSError, psycopg.Error):
            if self._connection:
                with socket.socket(fileno=os.dup(self._connection.fileno())) as wire:
                    wire.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            self._shop()
        except BaseException as failure:  # noqa: BLE001
            self.failure = failure

    def _shop(self) -> None:
        pause = FIRST_PAUSE
        while not self._leaving.is_set():
            began = time.monotonic()
            try:
                visit = self._open()
            except (psycopg.Error, OSError, LookupError) as error:
                self._log_error(error, began)
            else:
                pause = self._visit(visit, pause)
            self._close()
            self._leaving.wait(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    def _open(self) -> Visit:
        """A connection to where the file points now."""
        url = without_prisma_parameters(self._url_file.read_text(encoding="utf-8").strip())
        connection = psycopg.connect(
            url, application_name=f"vivr-{self.name}", connect_timeout=3,
            keepalives_idle=5, keepalives_interval=2, keepalives_count=3, tcp_user_timeout=10_000,
        )  # fmt: skip
        with self._guard:
            self._connection = connection
        connection.add_notice_handler(lambda notice: self._warnings.append(notice.message_primary or ""))
        visit = enter(connection.cursor(), self._sql, self._memory, self._dice)
        connection.rollback()
        return visit

    def _close(self) -> None:
        with self._guard:
            if self._connection:
                self._connection.close()
            self._connection = None

    def _visit(self, visit: Visit, pause: float) -> float:
        """Shops until the connection is of no more use; returns the pause before the next."""
        while not self._leaving.is_set():
            began = time.monotonic()
            try:
                change = act(visit)
                if change is None:
                    visit.cursor.connection.rollback()
            except psycopg.Error as error:
                self._log_error(error, began)
                if not _is_survivable(error) or not _rolled_back(visit):
                    return pause
                self._leaving.wait(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
                continue
            if change is None:
                self._log_browse(began)
            elif not self._commit(visit, change, began):
                return pause
            pause = FIRST_PAUSE
            self._leaving.wait(max(0.0, self._interval - (time.monotonic() - began)))
        return pause

    def _commit(self, visit: Visit, change: Change, began: float) -> bool:
        """Whether the server acknowledged the commit; what it answered is in the log."""
        self._warnings.clear()
        sent_at = stamp()
        try:
            answer = visit.cursor.execute("COMMIT", prepare=False).statusmessage
        except psycopg.Error as error:
            if error.sqlstate and not error.sqlstate.startswith(NO_ANSWER):
                self._log_error(error, began)
            else:
                self._log_unknown(change, began, sent_at, str(error), error.sqlstate)
            return False
        if answer != "COMMIT" or self._warnings:
            # a synchronous commit whose wait was cancelled is answered with a warning: durable here only
            self._log_unknown(change, began, sent_at, "; ".join([str(answer), *self._warnings]), None)
            return False
        self._log_commit(change, began, sent_at)
        self._memory.keep(change)
        return True

    def _line(self, kind: str, began: float) -> dict[str, object]:
        seconds = round(time.monotonic() - began, 6)
        return {"shopper": self.name, "version": self._sql.version, "kind": kind, "seconds": seconds}

    def _log_commit(self, change: Change, began: float, sent_at: str) -> None:
        line = self._line(change.kind, began) | _of(change) | {"sent_at": sent_at, "acknowledged_at": stamp()}
        self._log.append(line)

    def _log_unknown(self, change: Change, began: float, sent_at: str, message: str, sqlstate: str | None) -> None:
        line = self._line("unknown", began) | {"of": change.kind} | _of(change)
        self._log.append(line | {"sent_at": sent_at, "at": stamp(), "sqlstate": sqlstate, "message": message.strip()})

    def _log_browse(self, began: float) -> None:
        self._log.append(self._line("browse", began) | {"acknowledged_at": stamp()})

    def _log_error(self, error: Exception, began: float) -> None:
        sqlstate = error.sqlstate if isinstance(error, psycopg.Error) else None
        line = self._line("error", began) | {"sqlstate": sqlstate, "message": str(error).strip(), "at": stamp()}
        self._log.append(line)


def _of(change: Change) -> dict[str, object]:
    return {"table": change.table, "ids": change.ids, "xid": change.xid}


def _is_survivable(error: Error) -> bool:
    return error.sqlstate is not None and error.sqlstate.startswith(SURVIVABLE)


def _rolled_back(visit: Visit) -> bool:
    try:
        visit.cursor.connection.rollback()
    except psycopg.Error:
        return False
    return True
