"""What this machine has read of a repository's journal, so that an audit reads what is new and not all of it.

    entries.jsonl    beside the writer's state: a checksum and an entry a line, appended to; later lines win
                     or a checksum and `{"doubted": [names]}`: entries in which an audit found a fault

Only entries whose signature held and that this version wholly understands are kept. What is doubted is read by every
audit until one finds no fault in it. It can be thrown away: lines that are cut short or changed do not count, and what
is not remembered is read from the store.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blake3 import blake3

from safepoint.files import write_all
from safepoint.model.json_value import Json
from safepoint.repository.commit.journal_entry import Entry, entry_from_json, entry_to_json
from safepoint.repository.sealing.checked_json import canonical

TURNS = 30
"""An audit reads again what it is the turn of, so that everything is, once in so many audits."""

_DOUBTED = "doubted"
_FILE = "entries.jsonl"
_CHECKSUM_DIGITS = 32
_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600


@dataclass(slots=True)
class _Kept:
    """What the file says: entries by name, and the names that are doubted."""

    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    doubted: frozenset[str] = frozenset()


class EntryMemory:
    """Entries by name, in a directory, or (None) nothing at all."""

    def __init__(self, directory: Path | None) -> None:
        self._path = None if directory is None else directory / _FILE

    def all(self) -> Iterable[Entry]:
        """Everything that is remembered, doubted or not."""
        return self._read().entries.values()

    def entries(self) -> dict[str, Entry]:
        """All that is remembered but the last of each writer, which tells whether a chain is the one that was read."""
        found = self._read().entries
        last: dict[str, int] = {}
        for entry in found.values():
            last[entry.writer] = max(entry.sequence, last.get(entry.writer, 0))
        return {name: entry for name, entry in found.items() if entry.sequence != last[entry.writer]}

    def trusted(self, turns: Collection[int]) -> dict[str, Entry]:
        """What an audit need not read again: `entries`, but for what is doubted and what these are the turns of."""
        doubted, due = self._read().doubted, {turn % TURNS for turn in turns}
        return {
            name: entry
            for name, entry in self.entries().items()
            if name not in doubted and entry.sequence % TURNS not in due
        }

    def add(
        self,
        entries: Iterable[Entry],
        *,
        doubted: AbstractSet[str] = frozenset(),
        cleared: AbstractSet[str] = frozenset(),
    ) -> None:
        """These are remembered, where they can be; killed meanwhile, some are. What is `cleared` is doubted no more."""
        if self._path is None:
            return
        known = self._read()
        lines = [_line(entry_to_json(entry)) for entry in entries if _is_new(entry, known.entries)]
        names = (known.doubted - cleared) | doubted
        if names != known.doubted:
            lines.append(_line({_DOUBTED: sorted(names)}))
        with contextlib.suppress(OSError):
            if lines:
                self._append(self._path, b"".join(lines))

    def _append(self, path: Path, lines: bytes) -> None:
        """Behind a line end, since whoever wrote last may have died within a line."""
        path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            write_all(descriptor, b"\n" + lines)
        finally:
            os.close(descriptor)

    def _read(self) -> _Kept:
        kept = _Kept()
        if self._path is None:
            return kept
        with contextlib.suppress(OSError):
            for line in self._path.read_bytes().split(b"\n"):
                with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                    _take(kept, line)
        return kept


def _is_new(entry: Entry, known: Mapping[str, Entry]) -> bool:
    return entry.is_signed and not entry.unknown_events and known.get(entry.name) != entry


def _line(content: Mapping[str, Json]) -> bytes:
    value = canonical(content)
    return _checksum(value) + value + b"\n"


def _take(kept: _Kept, line: bytes) -> None:
    """Takes in what the line says; ValueError and its like when it does not hold."""
    checksum, value = line[:_CHECKSUM_DIGITS], line[_CHECKSUM_DIGITS:]
    if not value or _checksum(value) != checksum:
        return
    content: dict[str, Any] = json.loads(value)
    if _DOUBTED in content:
        kept.doubted = frozenset(map(str, content[_DOUBTED]))
    else:
        entry = entry_from_json(content)
        kept.entries[entry.name] = entry


def _checksum(value: bytes) -> bytes:
    return blake3(value).hexdigest(length=_CHECKSUM_DIGITS // 2).encode()
