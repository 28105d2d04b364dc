"""The audit: is everything there that the writers say is there, and is the journal itself whole?

Reads the journal, then looks at what is stored, then reads what the journal has gained meanwhile, and judges by pure
functions (journal_chains.py, journal_claims.py). Afterwards the machine remembers how far it has seen and verified
each chain, so that an older copy of the store is noticed. What cannot be found stands in docs/FORMAT.md: above all a
tail that was cut before anybody else saw it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from safepoint.model.lsn import Lsn, WalSegment
from safepoint.repository.commit.journal import fetch_entry
from safepoint.repository.commit.journal_chains import Read, judge_chains, listed_heads, told_heads, whole_heads
from safepoint.repository.commit.journal_claims import Snapshot, judge_claims, standing_backups
from safepoint.repository.commit.journal_entry import JOURNAL_PREFIX, Entry, place_of
from safepoint.repository.commit.journal_finding import Finding, FindingKind, Severity
from safepoint.repository.commit.journal_state import Head, JournalState, StateKeeper
from safepoint.repository.commit.parallel import in_threads
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores.port import Store

__all__ = [
    "AuditReport",
    "Finding",
    "FindingKind",
    "Severity",
    "Snapshot",
    "WriterSeen",
    "audit_journal",
    "claimed_backups",
    "look_at_store",
    "readable_entries",
]

_NAMED = ("backups/", "records/", "indexes/")
_KEYS = "keys/"
_WAL = re.compile(r"(wal/[0-9]+/[0-9A-F]{8}-[0-9a-f]{32})/([0-9A-F]{24})\.([0-9]{1,4})MB")
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterSeen:
    """One writer: how many entries of it can be read, and when, by its own clock, it wrote the first and the last."""

    writer: str
    entries: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What the audit found. Whole, as far as anybody here can tell, when there is no finding beyond notices."""

    findings: tuple[Finding, ...]
    writers: tuple[WriterSeen, ...]
    entries: int
    unchecked_digests: int
    """Backups of which the journal knows the digest and the snapshot does not: not compared."""
    is_first_look: bool
    """Whether this machine remembered nothing before: a roll-back of the whole store could not be told."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is damaged or hidden, as far as can be told."""
        return all(finding.severity is Severity.NOTICE for finding in self.findings)


def audit_journal(
    store: Store,
    keyring: Keyring,
    *,
    repository: str,
    state: StateKeeper,
    look: Callable[[], Snapshot] | None = None,
) -> AuditReport:
    """The journal judged against what is stored; this machine remembers what it saw, where it can.

    `repository` is the id. `look` says what is stored and is called once, after the first reading; without it names
    alone are compared (`look_at_store`). Writes nothing to the store.
    """
    known = state.read()
    first, strange = _read_journal(store, keyring, repository, {})
    stored = look_at_store(store) if look is None else look()
    second, _ = _read_journal(store, keyring, repository, {entry.name: entry for entry in first})
    entries = _readable(first)
    report = AuditReport(
        findings=(
            *judge_chains(first, second, known),
            *judge_claims(entries, _readable(second), stored),
            *map(_strange, strange),
        ),
        writers=_writers(entries),
        entries=len(entries),
        unchecked_digests=_unchecked(entries, stored),
        is_first_look=not known.seen and not known.verified,
    )
    _remember(state, first, whole_heads(first, second, known))
    return report


def claimed_backups(store: Store, keyring: Keyring, repository: str) -> frozenset[str]:
    """The manifests that the journal says are backups, as far as it can be read; of the repository of this id."""
    entries, _ = _read_journal(store, keyring, repository, {})
    return standing_backups(_readable(entries))


def readable_entries(store: Store, keyring: Keyring, repository: str) -> list[Entry]:
    """All entries of the journal that can be read, signed or not; `repository` is the id. Remembers nothing."""
    return _readable(_read_journal(store, keyring, repository, {})[0])


def look_at_store(store: Store) -> Snapshot:
    """What the store lists: names, not whether a manifest is committed, nor what is in an object."""
    names = {name for prefix in _NAMED for name in store.list(prefix)}
    slots = [name for name in store.list(_KEYS) if "." not in name]
    wal: dict[str, list[tuple[Lsn, Lsn]]] = {}
    for name in store.list("wal/"):
        if match := _WAL.fullmatch(name):
            segment = WalSegment.parse(match[2], int(match[3]) * _MEBIBYTE)
            wal.setdefault(match[1], []).append((segment.start, segment.end))
    return Snapshot(names=frozenset({*names, *slots}), wal=wal)


def _read_journal(
    store: Store, keyring: Keyring, repository: str, known: dict[str, Read]
) -> tuple[list[Read], list[str]]:
    """Everything listed, in the order of names, from `known` what is there; and the names that are no entry's."""
    listed = list(store.list(JOURNAL_PREFIX))
    names = [name for name in listed if place_of(name) is not None]
    new = [name for name in names if name not in known]
    found = dict(zip(new, in_threads(partial(fetch_entry, store, keyring, repository), new), strict=True))
    entries = (known.get(name) or found.get(name) for name in names)
    return [entry for entry in entries if entry is not None], [name for name in listed if place_of(name) is None]


def _readable(entries: Iterable[Read]) -> list[Entry]:
    return [entry for entry in entries if isinstance(entry, Entry)]


def _strange(name: str) -> Finding:
    text = f"found the object {name}, expected journal/<writer>/<12 digits>"
    return Finding(kind=FindingKind.STRANGE_NAME, severity=Severity.NOTICE, text=text, objects=(name,))


def _writers(entries: Sequence[Entry]) -> tuple[WriterSeen, ...]:
    by_writer: dict[str, list[Entry]] = {}
    for entry in entries:
        by_writer.setdefault(entry.writer, []).append(entry)
    return tuple(
        WriterSeen(
            writer=writer,
            entries=len(found),
            first_at=min(entry.at for entry in found),
            last_at=max(entry.at for entry in found),
        )
        for writer, found in sorted(by_writer.items())
    )


def _unchecked(entries: Iterable[Entry], stored: Snapshot) -> int:
    claimed = {event.name for entry in entries for event in entry.events if event.digest is not None}
    return len((claimed & stored.names) - stored.digests.keys())


def _remember(keeper: StateKeeper, entries: Sequence[Read], whole: dict[str, Head]) -> None:
    """What was seen or verified once stays so: nothing here lowers what the machine remembers."""
    with keeper.held() as state:
        raised = {
            writer: head
            for writer, head in whole.items()
            if writer not in state.verified or head.sequence > state.verified[writer].sequence
        }
        seen = state.with_seen(listed_heads(_readable(entries))).with_seen(told_heads(entries))
        keeper.save(_with_verified(seen, raised))


def _with_verified(state: JournalState, heads: dict[str, Head]) -> JournalState:
    return replace(state, verified={**state.verified, **heads})
