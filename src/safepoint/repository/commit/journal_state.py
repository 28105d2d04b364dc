"""What this machine keeps of a repository's journal: its writer's private key and head, and what it has ever seen.

One small file for each store of a repository, replaced whole under an exclusive `flock`, so that the processes of a
host share one writer. Losing it is harmless to the journal (the next entry is a new writer's); what is lost is the
memory that a store was further than it is now. A damaged file counts as lost. Where nothing can be written, the state
lives as long as the process, and whatever can be read is still used.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from safepoint.files import write_durably
from safepoint.model.json_value import Json
from safepoint.repository.commit.journal_entry import NO_ENTRY, writer_of
from safepoint.repository.commit.journal_memory import EntryMemory
from safepoint.repository.local_lock import locked
from safepoint.repository.places import STORE_PREFIX
from safepoint.repository.sealing.checked_json import canonical

_STATE_FILE = "journal.json"
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
    pending: str | None = None
    """The digest of an entry that is being put after the last one: found there, it is this machine's own."""

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
    audits: int = 0
    """How many there were here, on which depends what the next one reads again."""
    lapsed: frozenset[tuple[str, str]] = frozenset()
    """Acknowledgements that hold here no more: identity of the finding, digest of the entry that says it."""

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
        self.entries = EntryMemory(directory)
        """What was read of the journal here."""

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

    def seen_elsewhere(self) -> dict[str, int]:
        """By writer, what this machine has seen of it in other stores of the same repository: copies of the whole."""
        seen: dict[str, int] = {}
        if self._directory is None:
            return seen
        for path in self._directory.parent.glob(f"{STORE_PREFIX}*/{_STATE_FILE}"):
            if path.parent != self._directory:
                seen = greatest(seen, _read(path).seen)
        return seen

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
    with locked(directory / _LOCK_FILE):
        yield


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
            "pending": writer.pending,
        },
        "seen": dict(state.seen),
        "audits": state.audits,
        "lapsed": [list(pair) for pair in sorted(state.lapsed)],
        "verified": {name: [head.sequence, head.digest] for name, head in state.verified.items()},
    }
    return canonical({**value, "checksum": _checksum(value)}) + b"\n"


def _state_of(value: dict[str, Any]) -> JournalState:
    writer = value["writer"]
    return JournalState(
        writer=None if writer is None else _writer_of(writer),
        seen=value["seen"],
        audits=value["audits"],
        lapsed=frozenset((str(identity), str(digest)) for identity, digest in value.get("lapsed", [])),
        verified={name: Head(sequence=head[0], digest=head[1]) for name, head in value["verified"].items()},
    )


def _writer_of(value: dict[str, Any]) -> Writer:
    return Writer(
        private=bytes.fromhex(value["private"]),
        sequence=value["sequence"],
        digest=value["digest"],
        told=value["told"],
        pending=value["pending"],
    )
