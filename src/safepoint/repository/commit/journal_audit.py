"""The audit: is everything there that the writers say is there, and is the journal itself whole?

Reads the journal, then looks at what is stored, then reads what the journal has gained meanwhile, and judges by pure
functions (journal_chains.py, journal_claims.py). Afterwards the machine remembers how far it has seen and verified
each chain, so that an older copy of the store is noticed, and what it read (journal_memory.py): the next audit reads
what is new, the last of what it knows of each writer, whatever a fault was found in or acknowledged of, and of the rest
a share in turn and one at random, which serves where the memory is put back each time. So an entry that is gone is
noticed at once, one that was exchanged deep in a chain within `TURNS` audits, or by one that is full; and found once,
it is found by every audit until it is mended. What cannot be found stands in docs/FORMAT.md: above all a tail that was
cut before anybody else saw it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from safepoint.model.lsn import Lsn
from safepoint.repository.commit.journal import fetch_entry
from safepoint.repository.commit.journal_acknowledged import eased, entries_acknowledged, lapsed_by
from safepoint.repository.commit.journal_chains import (
    Read,
    judge_chains,
    judge_elsewhere,
    listed_heads,
    told_heads,
    whole_heads,
)
from safepoint.repository.commit.journal_claims import Snapshot, judge_claims, standing_backups
from safepoint.repository.commit.journal_entry import Entry
from safepoint.repository.commit.journal_event import EventKind
from safepoint.repository.commit.journal_finding import JournalFinding, JournalFindingKind, Severity
from safepoint.repository.commit.journal_memory import TURNS
from safepoint.repository.commit.journal_state import Head, JournalState, StateKeeper
from safepoint.repository.names import (
    BACKUPS_PREFIX,
    INDEXES_PREFIX,
    JOURNAL_PREFIX,
    KEYS_PREFIX,
    RECORDS_PREFIX,
    WAL_PREFIX,
    place_of,
    wal_place,
)
from safepoint.repository.parallel import in_threads
from safepoint.repository.sealing.seal import Keyring
from safepoint.stores.port import Store

__all__ = [
    "AuditReport",
    "JournalFinding",
    "JournalFindingKind",
    "Severity",
    "Snapshot",
    "WriterSeen",
    "audit_journal",
    "claimed_backups",
    "look_at_store",
    "readable_entries",
]

_NAMED = (BACKUPS_PREFIX, RECORDS_PREFIX, INDEXES_PREFIX)


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

    findings: tuple[JournalFinding, ...]
    writers: tuple[WriterSeen, ...]
    entries: int
    unchecked_digests: int
    """Backups of which the journal knows the digest and the snapshot does not: not compared."""
    read: int
    """Entries that were fetched; what the others say was remembered."""
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
    is_full: bool = False,
    doubted: AbstractSet[str] = frozenset(),
) -> AuditReport:
    """The journal judged against what is stored; this machine remembers what it saw, where it can.

    `repository` is the id. `look` says what is stored and is called once, after the first reading; without it names
    alone are compared (`look_at_store`). The `doubted` entries are read, with `is_full` every one. Writes nothing to
    the store.
    """
    known = state.read()
    remembered = {} if is_full else _trusted(state, known, doubted)
    first, strange, fetched = _read_journal(store, keyring, repository, remembered)
    stored = look_at_store(store) if look is None else look()
    second, _, _ = _read_journal(store, keyring, repository, {entry.name: entry for entry in first})
    entries = _readable(first)
    findings = (
        *judge_chains(first, second, known),
        *judge_claims(entries, _readable(second), stored),
        *judge_elsewhere(first, known, state.seen_elsewhere()),
        *map(_strange, strange),
    )
    report = AuditReport(
        findings=eased(findings, _readable(second), known.lapsed),
        writers=_writers(entries),
        entries=len(entries),
        read=len(fetched),
        unchecked_digests=_unchecked(entries, stored),
        is_first_look=not known.seen and not known.verified,
    )
    _remember(state, first, whole_heads(first, second, known), lapsed_by(findings, entries, remembered.keys()))
    faulty = _entries_in(findings)
    state.entries.add(entries, doubted=faulty, cleared=fetched - faulty)
    return report


def claimed_backups(
    store: Store, keyring: Keyring, repository: str, state: StateKeeper | None = None
) -> frozenset[str]:
    """The manifests that the journal says are backups, as far as it can be read; of the repository of this id."""
    return standing_backups(readable_entries(store, keyring, repository, state))


def readable_entries(store: Store, keyring: Keyring, repository: str, state: StateKeeper | None = None) -> list[Entry]:
    """All entries of the journal that can be read, signed or not; `repository` is the id.

    With the `state` of this machine, those that it remembers are not read again, and what is new is remembered.
    """
    remembered = {} if state is None else state.entries.entries()
    entries = _readable(_read_journal(store, keyring, repository, remembered)[0])
    if state is not None:
        state.entries.add(entries)
    return entries


def look_at_store(store: Store) -> Snapshot:
    """What the store lists: names, not whether a manifest is committed, nor what is in an object."""
    names = {name for prefix in _NAMED for name in store.list(prefix)}
    slots = [name for name in store.list(KEYS_PREFIX) if "." not in name]
    wal: dict[str, list[tuple[Lsn, Lsn]]] = {}
    for name in store.list(WAL_PREFIX):
        if (place := wal_place(name)) is not None and (segment := place.segment) is not None:
            wal.setdefault(place.folder, []).append((segment.start, segment.end))
    return Snapshot(names=frozenset({*names, *slots}), wal=wal)


def _trusted(state: StateKeeper, known: JournalState, doubted: AbstractSet[str]) -> dict[str, Entry]:
    """What is remembered and need not be read."""
    found = state.entries.trusted((known.audits, secrets.randbelow(TURNS)))
    doubted |= entries_acknowledged(state.entries.all())
    return {name: entry for name, entry in found.items() if name not in doubted}


def _entries_in(findings: Iterable[JournalFinding]) -> frozenset[str]:
    """The entries that something is wrong with."""
    wrong = (finding.objects for finding in findings if finding.severity is Severity.UNKNOWN)
    return frozenset(name for objects in wrong for name in objects if place_of(name) is not None)


def _read_journal(
    store: Store, keyring: Keyring, repository: str, known: Mapping[str, Read]
) -> tuple[list[Read], list[str], AbstractSet[str]]:
    """What is listed, in the order of names, from `known` what is there; names that are no entry's; those fetched."""
    listed = list(store.list(JOURNAL_PREFIX))
    names = [name for name in listed if place_of(name) is not None]
    new = [name for name in names if name not in known]
    found = dict(zip(new, in_threads(partial(fetch_entry, store, keyring, repository), new), strict=True))
    entries = (known.get(name) or found.get(name) for name in names)
    strange = [name for name in listed if place_of(name) is None]
    return [entry for entry in entries if entry is not None], strange, found.keys()


def _readable(entries: Iterable[Read]) -> list[Entry]:
    return [entry for entry in entries if isinstance(entry, Entry)]


def _strange(name: str) -> JournalFinding:
    text = f"found the object {name}, expected journal/<writer>/<12 digits>"
    return JournalFinding(kind=JournalFindingKind.STRANGE_NAME, severity=Severity.NOTICE, text=text, objects=(name,))


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
    events = (event for entry in entries for event in entry.events)
    claimed = {event.name for event in events if event.kind is EventKind.BACKUP and event.digest is not None}
    return len((claimed & stored.names) - stored.digests.keys())


def _remember(
    keeper: StateKeeper, entries: Sequence[Read], whole: dict[str, Head], lapsed: AbstractSet[tuple[str, str]]
) -> None:
    """What was seen or verified once stays so: nothing here lowers what the machine remembers."""
    with keeper.held() as state:
        raised = {
            writer: head
            for writer, head in whole.items()
            if writer not in state.verified or head.sequence > state.verified[writer].sequence
        }
        seen = state.with_seen(listed_heads(_readable(entries))).with_seen(told_heads(entries))
        kept = replace(_with_verified(seen, raised), audits=state.audits + 1, lapsed=state.lapsed | lapsed)
        keeper.save(kept)


def _with_verified(state: JournalState, heads: dict[str, Head]) -> JournalState:
    return replace(state, verified={**state.verified, **heads})
