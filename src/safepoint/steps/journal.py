"""Journals: what a run has begun and finished, durable before the next step begins.

The port is `Journal`; `MemoryJournal` serves tests and read-only work, `FileJournal` everything that must resume.
Other rooms bring their own (migrations keep theirs in the database they change).

A file journal is append-only JSON lines, each fsynced; a torn last line is what a crash leaves and is dropped, any
other unreadable line is damage. An exclusive `flock` on the file keeps a second executor out for as long as the
journal is open: it ends with the process, however that dies.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from safepoint import errors
from safepoint.files import sync_directory, write_synced
from safepoint.model.json_value import Json, JsonObject
from safepoint.steps.plan import Plan, plan_from_json, plan_to_json


class Event(Enum):
    """What an entry says of its step."""

    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a journal. `at` is an ISO 8601 instant with zone; `seconds` is set when the step ended."""

    step: str
    event: Event
    at: str
    seconds: float | None = None
    outcome: JsonObject = field(default_factory=dict[str, Json])


class Journal(Protocol):
    """Where a run is recorded.

    `record` returns when the entry is durable. `entries` gives all recorded entries in order. Exactly one process
    may hold a journal open for writing; opening it twice raises SP002.
    """

    def entries(self) -> tuple[Entry, ...]:
        """Everything recorded so far, oldest first."""
        ...

    def record(self, entry: Entry) -> None:
        """Makes the entry durable."""
        ...


class MemoryJournal:
    """Forgets with the process."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def entries(self) -> tuple[Entry, ...]:
        """Everything recorded so far, oldest first."""
        return tuple(self._entries)

    def record(self, entry: Entry) -> None:
        """Keeps the entry."""
        self._entries.append(entry)


class FileJournal:
    """A journal in a file; open it with `open_file_journal`."""

    def __init__(self, descriptor: int, entries: list[Entry]) -> None:
        self._descriptor = descriptor
        self._entries = entries

    def entries(self) -> tuple[Entry, ...]:
        """Everything recorded so far, oldest first."""
        return tuple(self._entries)

    def record(self, entry: Entry) -> None:
        """Appends the entry and syncs the file."""
        _append(self._descriptor, _entry_to_json(entry))
        self._entries.append(entry)


@contextmanager
def open_file_journal(path: Path, plan: Plan) -> Generator[FileJournal]:
    """The journal of `plan` at `path`, made if absent, held alone until the context ends.

    Raises SP002 when another process holds it, SP003 when it cannot be read, SP004 when it is another plan's, CF007
    when it cannot be written.
    """
    descriptor = _open(path)
    try:
        _lock(descriptor, path)
        lines = _read_whole_lines(descriptor, path)
        if lines:
            _require_same_plan(lines[0], plan, path)
        else:
            _append(descriptor, {"plan": plan_to_json(plan)})
            sync_directory(path.parent)
        yield FileJournal(descriptor, _entries_of(lines, path))
    finally:
        os.close(descriptor)


def read_file_journal(path: Path) -> tuple[Plan, tuple[Entry, ...]]:
    """The plan and the entries of a journal, without holding it; SP003 when it cannot be read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        lines = _parse_lines(_read_all(descriptor), path)[0]
    finally:
        os.close(descriptor)
    if not lines:
        raise errors.SP003.error(f"found an empty journal at {path}, expected a plan on its first line")
    return _plan_of(lines[0], path), tuple(_entries_of(lines, path))


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise errors.SP002.error(
            f"found the journal {path} held by another process, expected it free",
            hints=[errors.ask("is the same command running in another terminal or job?")],
        ) from error


def _read_whole_lines(descriptor: int, path: Path) -> list[dict[str, Any]]:
    """Every complete line; a torn last one is cut off the file, so that the next append starts a line."""
    lines, whole_bytes = _parse_lines(_read_all(descriptor), path)
    os.ftruncate(descriptor, whole_bytes)
    os.lseek(descriptor, 0, os.SEEK_END)
    return lines


def _read_all(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return b"".join(iter(lambda: os.read(descriptor, 1 << 20), b""))


def _parse_lines(content: bytes, path: Path) -> tuple[list[dict[str, Any]], int]:
    whole = content[: content.rfind(b"\n") + 1]
    try:
        return [json.loads(line) for line in whole.splitlines()], len(whole)
    except ValueError as error:
        raise _unreadable(path, f"a line that is no JSON ({error})") from error


def _require_same_plan(line: dict[str, Any], plan: Plan, path: Path) -> None:
    found = _plan_of(line, path)
    if found.id != plan.id:
        raise errors.SP004.error(f"found plan {found.id} ({found.title}) in {path}, expected {plan.id} ({plan.title})")


def _plan_of(line: dict[str, Any], path: Path) -> Plan:
    try:
        return plan_from_json(line["plan"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, f"no plan on its first line ({error!r})") from error


def _entries_of(lines: list[dict[str, Any]], path: Path) -> list[Entry]:
    try:
        return [_entry_from_json(line) for line in lines[1:]]
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, f"a line that is no entry ({error!r})") from error


def _unreadable(path: Path, found: str) -> errors.SafepointError:
    return errors.SP003.error(
        f"found {found} in {path}, expected a plan and then one entry a line",
        hints=[errors.run(f"move it aside and start afresh: mv {path} {path}.damaged")],
    )


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(error, str(path)) from error


def _append(descriptor: int, value: JsonObject) -> None:
    line = (json.dumps(value, sort_keys=True) + "\n").encode()
    try:
        write_synced(descriptor, line)
    except OSError as error:
        raise _unwritable(error, "the journal") from error


def _unwritable(error: OSError, what: str) -> errors.SafepointError:
    return errors.CF007.error(
        f"found that {what} cannot be written ({(error.strerror or str(error)).lower()}), expected it to be",
        changed="the steps that were reported as done are done; run the command again to go on",
        hints=[
            errors.ask("is the disk full?"),
            errors.run("keep journals elsewhere: `export SAFEPOINT_STATE=DIR`"),
        ],
    )


def _entry_to_json(entry: Entry) -> dict[str, Json]:
    return {
        "step": entry.step,
        "event": entry.event.value,
        "at": entry.at,
        "seconds": entry.seconds,
        "outcome": entry.outcome,
    }


def _entry_from_json(value: dict[str, Any]) -> Entry:
    return Entry(
        step=value["step"],
        event=Event(value["event"]),
        at=value["at"],
        seconds=value["seconds"],
        outcome=value["outcome"],
    )
