"""What this machine keeps of a repository's journal: its writer's private key and head, and what it has ever seen.

One small file per repository, replaced whole under an exclusive `flock`, so that the processes of a host share one
writer. Losing it is harmless to the journal (the next entry is a new writer's); what is lost is the memory that a
store was further than it is now. A damaged file counts as lost. Where nothing can be written, the state lives as long
as the process, and whatever can be read is still used.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from safepoint.files import write_durably
from safepoint.model.json_value import Json
from safepoint.repository.commit.journal_entry import NO_ENTRY, writer_of
from safepoint.repository.sealing.checked_json import canonical

_STATE_FILE = "journal.json"
_PATIENCE_SECONDS = 5.0
_POLL_SECONDS = 0.02
_LOCK_FILE = "journal.lock"
_VERSION = 1
_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last entry of a writer that this machine has verified from the first on."""

    sequence: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Writer:
    """A writer this machine can sign for, and the last entry it knows to be stored."""

    private: bytes
    sequence: int = 0
    digest: str = NO_ENTRY
    told: Mapping[str, int] = field(default_factory=dict[str, int])
    """The heads of other writers that this one's entries have named."""

    @classmethod
    def new(cls) -> Writer:
        """One with a key of its own and no entry."""
        return cls(private=Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def key(self) -> Ed25519PrivateKey:
        """What it signs with."""
        return Ed25519PrivateKey.from_private_bytes(self.private)

    @property
    def id(self) -> str:
        """Its name in the store."""
        return writer_of(self.key.public_key())


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalState:
    """What is kept."""

    writer: Writer | None = None
    seen: Mapping[str, int] = field(default_factory=dict[str, int])
    """By writer, the last sequence that a listing or an entry ever named."""
    verified: Mapping[str, Head] = field(default_factory=dict[str, Head])

    def with_seen(self, heads: Mapping[str, int]) -> JournalState:
        """The greater of both: what was seen once is never forgotten."""
        return replace(self, seen=greatest(self.seen, heads))


def greatest(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """By writer, the greater sequence."""
    return {writer: max(one.get(writer, 0), other.get(writer, 0)) for writer in sorted({*one, *other})}


class StateKeeper:
    """The state in a directory, or (None) in this process alone. May be used from several threads."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._in_memory = JournalState()
        self.is_persistent = directory is not None
        """Whether the last `save` reached the disk."""

    def read(self) -> JournalState:
        """The state without holding it."""
        with self._lock:
            return self._load()

    @contextlib.contextmanager
    def held(self) -> Generator[JournalState]:
        """The state, which no other process or thread changes until the context ends."""
        with self._lock, contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_flocked(self._directory))
            except OSError:
                self.is_persistent = False
            yield self._load()

    def save(self, state: JournalState) -> None:
        """The state is kept, durably where it can be; within `held`."""
        self._in_memory = state
        if self._directory is None or not self.is_persistent:
            return
        try:
            write_durably(self._directory / _STATE_FILE, _to_bytes(state), _FILE_MODE)
        except OSError:
            self.is_persistent = False

    def _load(self) -> JournalState:
        found = JournalState() if self._directory is None else _read(self._directory / _STATE_FILE)
        if self.is_persistent:
            return found
        # A writer whose progress cannot be kept would look for its end in the store each time: a new one is cheaper.
        mine = self._in_memory
        return replace(mine, verified={**found.verified, **mine.verified}).with_seen(found.seen)


@contextlib.contextmanager
def _flocked(directory: Path | None) -> Generator[None]:
    if directory is None:
        yield
        return
    directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    descriptor = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """OSError when another process holds it too long: one that was stopped must not stop the others."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)


def _read(path: Path) -> JournalState:
    try:
        value: Any = json.loads(path.read_bytes())
        checksum = value.pop("checksum")
        if checksum != _checksum(value) or value["version"] != _VERSION:
            return JournalState()
        return _state_of(value)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return JournalState()


def _checksum(value: Mapping[str, Json]) -> str:
    return blake3(canonical(value)).hexdigest()


def _to_bytes(state: JournalState) -> bytes:
    writer = state.writer
    value: dict[str, Json] = {
        "version": _VERSION,
        "writer": None
        if writer is None
        else {
            "private": writer.private.hex(),
            "sequence": writer.sequence,
            "digest": writer.digest,
            "told": dict(writer.told),
        },
        "seen": dict(state.seen),
        "verified": {name: [head.sequence, head.digest] for name, head in state.verified.items()},
    }
    return canonical({**value, "checksum": _checksum(value)}) + b"\n"


def _state_of(value: dict[str, Any]) -> JournalState:
    writer = value["writer"]
    return JournalState(
        writer=None if writer is None else _writer_of(writer),
        seen=value["seen"],
        verified={name: Head(sequence=head[0], digest=head[1]) for name, head in value["verified"].items()},
    )


def _writer_of(value: dict[str, Any]) -> Writer:
    return Writer(
        private=bytes.fromhex(value["private"]),
        sequence=value["sequence"],
        digest=value["digest"],
        told=value["told"],
    )
