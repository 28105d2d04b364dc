"""The streaming replication protocol's commands, over one `psycopg.pq` connection in replication mode.

Decides how replies are awaited (never for ever: every wait has a deadline, and Ctrl-C ends it) and how the server's
errors become ours. Knows neither repositories nor what is done with the bytes. Base backups build on it in
`basebackup`, WAL in `walstream`.

Source: PostgreSQL 15-18 documentation, "Streaming Replication Protocol"; src/backend/replication/walsender.c.
"""

from __future__ import annotations

import select
import time
from dataclasses import dataclass, field

import psycopg
from psycopg import pq

from safepoint import errors
from safepoint.model.lsn import Lsn, TimelineId

COMMAND_SECONDS = 60.0
"""How long the server may think about a command that reads nothing but memory."""

_SLICE_SECONDS = 0.2
_CODES: dict[str, errors.Spec] = {
    "42501": errors.PG007,  # insufficient_privilege
    "28000": errors.PG007,  # invalid_authorization_specification
    "55006": errors.WL003,  # object_in_use: the slot
    "58P01": errors.WL004,  # undefined_file: "requested WAL segment … has already been removed"
    "XX001": errors.BK005,  # data_corrupted: checksum verification of a base backup
    "53300": errors.PG010,  # too_many_connections: max_wal_senders
    "53400": errors.PG010,  # configuration_limit_exceeded: max_replication_slots
    "55000": errors.PG010,  # object_not_in_prerequisite_state: wal_level, an invalidated slot
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemIdentity:
    """Who the server is and how far its WAL is flushed: the answer to IDENTIFY_SYSTEM."""

    system_identifier: str
    timeline: TimelineId
    flush_lsn: Lsn


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicalSlot:
    """A physical replication slot: the oldest WAL it keeps, None while it reserves nothing."""

    name: str
    restart_lsn: Lsn | None
    restart_timeline: TimelineId | None = None


@dataclass(slots=True)
class ReplicationSession:
    """One replication connection; made by `connect.replication_connection`, closed by `close`.

    `notices` are the server's warnings since the session began, oldest first.
    """

    connection: pq.abc.PGconn
    notices: list[str] = field(default_factory=list[str])
    is_copy_over: bool = False

    def __post_init__(self) -> None:
        self.connection.nonblocking = 1
        self.connection.notice_handler = self._keep_notice

    def close(self) -> None:
        """Ends the session; a temporary slot goes with it."""
        self.connection.finish()

    def identify_system(self) -> SystemIdentity:
        """The server's identity and current position."""
        ((identifier, timeline, lsn, _),) = self.rows("IDENTIFY_SYSTEM")
        return SystemIdentity(
            system_identifier=str(identifier), timeline=TimelineId(int(str(timeline))), flush_lsn=Lsn.parse(str(lsn))
        )

    def show(self, setting: str) -> str:
        """A server setting, in the server's unit."""
        ((value,),) = self.rows(f"SHOW {setting}")
        return str(value)

    def read_slot(self, name: str) -> PhysicalSlot | None:
        """The physical slot of that name, or None. WL003 when a logical slot has the name."""
        ((kind, lsn, timeline),) = self.rows(f"READ_REPLICATION_SLOT {quoted(name)}")
        if kind is None:
            return None
        if kind != "physical":
            raise errors.WL003.error(
                f"found a {kind} slot named {name}, expected a physical one or none",
                hints=[errors.ask("does another tool use that name?")],
            )
        return PhysicalSlot(
            name=name,
            restart_lsn=None if lsn is None else Lsn.parse(lsn),
            restart_timeline=None if timeline is None else TimelineId(int(timeline)),
        )

    def create_slot(self, name: str, *, is_temporary: bool = False) -> None:
        """The slot exists and holds WAL from the last checkpoint's redo position on.

        PG010 when max_replication_slots is exhausted, WL003 when the name is taken.
        """
        temporary = " TEMPORARY" if is_temporary else ""
        self.rows(f"CREATE_REPLICATION_SLOT {quoted(name)}{temporary} PHYSICAL (RESERVE_WAL)")

    def drop_slot(self, name: str) -> None:
        """The slot is gone; WL003 while somebody streams from it."""
        self.rows(f"DROP_REPLICATION_SLOT {quoted(name)}")

    def fetch_history(self, timeline: TimelineId) -> bytes:
        """The content of a timeline's history file; b"" for timeline 1, which has none."""
        if not timeline.has_history:
            return b""
        ((_, content),) = self.rows(f"TIMELINE_HISTORY {timeline}")
        return (content or "").encode()

    def rows(self, command: str, *, seconds: float = COMMAND_SECONDS) -> list[tuple[str | None, ...]]:
        """Runs one command to its end and returns the rows of its last result set."""
        self.send(command)
        rows: list[tuple[str | None, ...]] = []
        while (result := self.next_result(seconds)) is not None:
            if result.status == pq.ExecStatus.TUPLES_OK:
                rows = rows_of(result)
        return rows

    def send(self, command: str) -> None:
        """Sends a command; its results are read by `next_result`."""
        self.is_copy_over = False
        try:
            self.connection.send_query(command.encode())
        except psycopg.OperationalError as error:
            raise self.lost() from error
        self.flush()

    def flush(self) -> None:
        """Everything queued has been handed to the kernel."""
        deadline = time.monotonic() + COMMAND_SECONDS
        while self._call_flush():
            self._wait(deadline, for_writing=True)

    def next_result(self, seconds: float = COMMAND_SECONDS) -> pq.abc.PGresult | None:
        """The next result of the command sent, None after the last; WL005 after `seconds` without an answer.

        A result that is an error is raised as ours.
        """
        deadline = time.monotonic() + seconds
        while self.connection.is_busy():
            self._wait(deadline)
            self._consume()
        result = self.connection.get_result()
        if result is not None and result.status in {pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE}:
            raise self.error_of(result)
        return result

    def read_copy(self, seconds: float) -> memoryview | None:
        """The next message of a COPY, or None when none came within `seconds` or the COPY is over (`is_copy_over`)."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                count, data = self.connection.get_copy_data(1)
            except psycopg.OperationalError as error:
                raise self.lost() from error
            if count > 0:
                return data
            if count < 0:
                self.is_copy_over = True
                return None
            if time.monotonic() >= deadline:
                return None
            self._select(min(_SLICE_SECONDS, max(0.0, deadline - time.monotonic())))
            self._consume()

    def write_copy(self, message: bytes) -> None:
        """Sends one message into a COPY that goes both ways."""
        try:
            self.connection.put_copy_data(message)
        except psycopg.OperationalError as error:
            raise self.lost() from error
        self.flush()

    def end_copy(self) -> None:
        """Says that nothing more will be sent."""
        try:
            self.connection.put_copy_end()
        except psycopg.OperationalError as error:
            raise self.lost() from error
        self.flush()

    def error_of(self, result: pq.abc.PGresult) -> errors.SafepointError:
        """The server's error as ours; its SQLSTATE decides which."""
        state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        text = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message).decode(errors="replace")
        spec = _CODES.get(state, errors.WL005)
        hint = (result.error_field(pq.DiagnosticField.MESSAGE_HINT) or b"").decode(errors="replace")
        return spec.error(
            f'found the answer "{text.strip()}" ({state or "connection lost"}), expected replication to go on',
            hints=[errors.run(hint)] if hint else [],
        )

    def lost(self) -> errors.SafepointError:
        """The error that says that the connection is gone."""
        text = self.connection.get_error_message().strip() or "no word from the server"
        return errors.WL005.error(
            f"found the replication connection lost ({' '.join(text.split())}), expected it open",
            hints=[errors.ask("did the server restart, or does a proxy close idle connections?")],
        )

    def _keep_notice(self, result: pq.abc.PGresult) -> None:
        text = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY)
        if text is not None:
            self.notices.append(text.decode(errors="replace"))

    def _call_flush(self) -> int:
        try:
            return self.connection.flush()
        except psycopg.OperationalError as error:
            raise self.lost() from error

    def _consume(self) -> None:
        try:
            self.connection.consume_input()
        except psycopg.OperationalError as error:
            raise self.lost() from error

    def _wait(self, deadline: float, *, for_writing: bool = False) -> None:
        if time.monotonic() >= deadline:
            raise errors.WL005.error(
                "found no answer from the server within the deadline, expected one",
                hints=[errors.ask("is the server overloaded, or the network cut?")],
            )
        self._select(_SLICE_SECONDS, for_writing=for_writing)

    def _select(self, seconds: float, *, for_writing: bool = False) -> None:
        try:
            descriptor = self.connection.socket
        except psycopg.OperationalError as error:
            raise self.lost() from error
        select.select([descriptor], [descriptor] if for_writing else [], [], seconds)


def quoted(identifier: str) -> str:
    """The identifier in double quotes, as the replication grammar takes it."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """The text in single quotes, as the replication grammar takes it."""
    return "'" + text.replace("'", "''") + "'"


def rows_of(result: pq.abc.PGresult) -> list[tuple[str | None, ...]]:
    """The rows of a result set as text."""
    return [
        tuple(_text(result.get_value(row, column)) for column in range(result.nfields)) for row in range(result.ntuples)
    ]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def slot_name(database: str) -> str:
    """`safepoint_<database>` with what a slot's name may not hold replaced by `_`; at most 63 characters."""
    allowed = [letter if letter.isascii() and (letter.isalnum()) else "_" for letter in database.lower()]
    return ("safepoint_" + "".join(allowed))[:63]
