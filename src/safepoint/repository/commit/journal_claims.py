"""What the journal says is stored, against what is.

Pure. A claim (backup, record, index, key slot, WAL range) stands until an expiry of the same thing that the claiming
writer did not know of when it claimed: what was expired, then stored again by somebody who knew, is claimed again.
Order comes from the chains (a writer knows its own earlier entries, and those of others up to the heads it names),
never from clocks. Claims count from every entry that can be read; expiries only from entries whose signature holds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from safepoint.model.lsn import Lsn
from safepoint.repository.commit.journal_entry import Entry
from safepoint.repository.commit.journal_event import EventKind, JournalEvent, KeyChange
from safepoint.repository.commit.journal_finding import JournalFinding, JournalFindingKind, Severity
from safepoint.repository.names import KEYS_PREFIX

Range = tuple[int, int]
"""WAL bytes [start, end)."""

_What = tuple[EventKind, KeyChange | None]
_APPEARS: frozenset[_What] = frozenset(
    {
        (EventKind.BACKUP, None),
        (EventKind.RECORD, None),
        (EventKind.INDEX, None),
        (EventKind.KEY, KeyChange.ADDED),
    }
)
_VANISHES: frozenset[_What] = frozenset({(EventKind.EXPIRED, None), (EventKind.KEY, KeyChange.REMOVED)})
_WAL_APPEARS: frozenset[_What] = frozenset({(EventKind.WAL, None)})
_WAL_VANISHES: frozenset[_What] = frozenset({(EventKind.WAL_EXPIRED, None)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is stored. Taken after the first and before the second reading of the journal."""

    names: frozenset[str] = frozenset()
    """Manifests (those that exist as backups), records, indexes and key slots."""
    wal: Mapping[str, Sequence[tuple[Lsn, Lsn]]] = field(default_factory=dict[str, Sequence[tuple[Lsn, Lsn]]])
    """By `wal/<cluster>/<lineage>`, complete segments as [start, end)."""
    digests: Mapping[str, str] = field(default_factory=dict[str, str])
    """By manifest, BLAKE3 of the object's bytes, for those that were read."""
    generation: int | None = None
    """The newest generation of the master that the keys give; None when nobody looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """One event, and who said it when."""

    event: JournalEvent
    entry: Entry
    position: int


class _Order:
    """What each writer knew of the others."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._learned: dict[tuple[str, str], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for entry in sorted(entries, key=lambda entry: entry.sequence):
            for writer, head in entry.heads.items():
                sequences, heads = self._learned[entry.writer, writer]
                sequences.append(entry.sequence)
                heads.append(max(head, heads[-1] if heads else 0))

    def is_known(self, earlier: _Said, later: _Said) -> bool:
        """Whether the writer of `later` knew of `earlier` when it wrote."""
        if earlier.entry.writer == later.entry.writer:
            return (earlier.entry.sequence, earlier.position) < (later.entry.sequence, later.position)
        if (later.entry.writer, earlier.entry.writer) not in self._learned:
            return False
        sequences, heads = self._learned[later.entry.writer, earlier.entry.writer]
        at = bisect_right(sequences, later.entry.sequence)
        return at > 0 and heads[at - 1] >= earlier.entry.sequence


def judge_claims(first: Sequence[Entry], second: Sequence[Entry], stored: Snapshot) -> tuple[JournalFinding, ...]:
    """Everything that the first reading says is stored, that neither reading calls expired, and the snapshot lacks."""
    signed = [entry for entry in _each_once(first, second) if entry.is_signed]
    order = _Order(signed)
    return (
        *_judge_names(_said(first, _APPEARS), _said(signed, _VANISHES), order, stored),
        *_judge_wal(_said(first, _WAL_APPEARS), _said(signed, _WAL_VANISHES), order, stored),
        *_judge_generation(first, stored),
        *_unknown_events(first),
        *_new_writers(first),
    )


def claimed_backups(entries: Iterable[Entry]) -> dict[str, str | None]:
    """The backups that stand claimed, by signed entries alone: digests by manifest, None where entries contradict."""
    signed = [entry for entry in entries if entry.is_signed]
    order, expiries = _Order(signed), _said(signed, _VANISHES)
    found: dict[str, str | None] = {}
    for name, claims in _said(signed, frozenset({(EventKind.BACKUP, None)})).items():
        standing = [claim for claim in claims if all(order.is_known(gone, claim) for gone in expiries.get(name, ()))]
        if standing:
            digests = {claim.event.digest for claim in standing}
            found[name] = digests.pop() if len(digests) == 1 else None
    return found


def _each_once(first: Sequence[Entry], second: Sequence[Entry]) -> Iterable[Entry]:
    return {entry.name: entry for entry in (*first, *second)}.values()


def _said(entries: Iterable[Entry], wanted: frozenset[_What]) -> dict[str, list[_Said]]:
    """By name, the events of the wanted kinds."""
    found: dict[str, list[_Said]] = defaultdict(list)
    for entry in entries:
        for position, event in enumerate(entry.events):
            if (event.kind, event.change) in wanted:
                found[event.name].append(_Said(event=event, entry=entry, position=position))
    return found


def _judge_names(
    claims: Mapping[str, list[_Said]], expiries: Mapping[str, list[_Said]], order: _Order, stored: Snapshot
) -> Iterator[JournalFinding]:
    for name in sorted({*claims, *expiries}):
        against = expiries.get(name, [])
        standing = _standing(claims.get(name, ()), against, order)
        if not standing and name in stored.names:
            yield _returned(name, against[0].entry)
        elif standing and name not in stored.names:
            yield _missing(name, standing)
        elif standing:
            yield from _judge_digest(name, stored.digests.get(name), standing)


def _standing(claims: Iterable[_Said], against: Sequence[_Said], order: _Order) -> list[_Said]:
    return [claim for claim in claims if all(order.is_known(expiry, claim) for expiry in against)]


def standing_backups(entries: Sequence[Entry]) -> frozenset[str]:
    """The manifests that the entries say are backups, and that none of them calls expired since."""
    signed = [entry for entry in entries if entry.is_signed]
    order, expiries = _Order(signed), _said(signed, _VANISHES)
    claims = _said(entries, frozenset({(EventKind.BACKUP, None)}))
    return frozenset(name for name, said in claims.items() if _standing(said, expiries.get(name, ()), order))


def _missing(name: str, claims: Sequence[_Said]) -> JournalFinding:
    first = claims[0]
    text = f"found no {name}, expected the {first.event.kind.value} that {first.entry.name} says is stored"
    kind, facts = JournalFindingKind.MISSING_OBJECT, _digests(claims)
    return JournalFinding(kind=kind, severity=Severity.DAMAGED, text=text, objects=(name,), facts=facts)


def _digests(claims: Iterable[_Said]) -> tuple[str, ...]:
    """Of the entries that say it: said once more, it is another finding."""
    return tuple(sorted({claim.entry.digest for claim in claims}))


def _returned(name: str, entry: Entry) -> JournalFinding:
    text = f"found {name}, expected it gone as {entry.name} says, unless its deletion is under way"
    kind, facts = JournalFindingKind.RETURNED_OBJECT, (entry.digest,)
    return JournalFinding(kind=kind, severity=Severity.NOTICE, text=text, objects=(name,), facts=facts)


def _judge_digest(name: str, found: str | None, claims: Sequence[_Said]) -> Iterator[JournalFinding]:
    """Objects are written once, so all say the same: a second digest is somebody's who put another in its place."""
    said = {claim.event.digest: claim.entry.name for claim in claims if claim.event.digest is not None}
    wrong = {digest: entry for digest, entry in said.items() if digest != found}
    if not wrong or (found is None and len(wrong) == 1):
        return
    expected = " and ".join(f"{digest[:16]} as {entry} says" for digest, entry in sorted(wrong.items()))
    seen = "no one digest" if found is None else f"the digest {found[:16]}"
    text = f"found {seen} of {name}, expected {expected}"
    kind, facts = JournalFindingKind.REPLACED_OBJECT, (found or "", *sorted(wrong), *_digests(claims))
    yield JournalFinding(kind=kind, severity=Severity.DAMAGED, text=text, objects=(name,), facts=facts)


def _judge_wal(
    claims: Mapping[str, list[_Said]], expiries: Mapping[str, list[_Said]], order: _Order, stored: Snapshot
) -> Iterator[JournalFinding]:
    for folder in sorted(claims):
        held = merged((start.value, end.value) for start, end in stored.wal.get(folder, ()))
        missing: list[Range] = []
        for claim in claims[folder]:
            if left := minus([_range_of(claim.event)], held):
                missing += minus(left, _expired_since(claim, expiries.get(folder, ()), order))
        for start, end in merged(missing):
            text = f"found no WAL [{Lsn(start)}, {Lsn(end)}) in {folder}, expected it as the journal says it is stored"
            saying = (
                claim for claim in claims[folder] if minus([(start, end)], [_range_of(claim.event)]) != [(start, end)]
            )
            kind, facts = JournalFindingKind.MISSING_WAL, (str(start), str(end), *_digests(saying))
            yield JournalFinding(kind=kind, severity=Severity.DAMAGED, text=text, objects=(folder,), facts=facts)


def _expired_since(claim: _Said, expiries: Iterable[_Said], order: _Order) -> list[Range]:
    return merged(_range_of(expiry.event) for expiry in expiries if not order.is_known(expiry, claim))


def _range_of(event: JournalEvent) -> Range:
    return (0, 0) if event.start is None or event.end is None else (event.start.value, event.end.value)


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same bytes as few, sorted, disjoint ranges."""
    result: list[Range] = []
    for start, end in sorted(ranges):
        if start >= end:
            continue
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def minus(ranges: Iterable[Range], holes: Sequence[Range]) -> list[Range]:
    """The bytes of the ranges that lie in none of the holes, which are as `merged` gives them."""
    result: list[Range] = []
    for start, end in ranges:
        at = start
        for hole_start, hole_end in holes[max(0, bisect_right(holes, (start, start)) - 1) :]:
            if hole_start >= end:
                break
            if hole_start > at:
                result.append((at, hole_start))
            at = max(at, hole_end)
        if at < end:
            result.append((at, end))
    return result


def _judge_generation(entries: Iterable[Entry], stored: Snapshot) -> Iterator[JournalFinding]:
    rotated = [
        (event.count or 0, entry)
        for entry in entries
        for event in entry.events
        if event.change is KeyChange.ROTATED and entry.is_signed
    ]
    if stored.generation is None or not rotated:
        return
    newest, entry = max(rotated, key=lambda pair: pair[0])
    if newest > stored.generation:
        text = f"found key generation {stored.generation}, expected {newest}, which {entry.name} says is in every slot"
        kind, facts = JournalFindingKind.OLD_KEYS, (str(stored.generation), str(newest), entry.digest)
        yield JournalFinding(kind=kind, severity=Severity.DAMAGED, text=text, objects=(KEYS_PREFIX,), facts=facts)


def _unknown_events(entries: Iterable[Entry]) -> Iterator[JournalFinding]:
    for entry in entries:
        for said in sorted(set(entry.unknown_events)):
            text = f"found an event {said!r} in {entry.name}, expected one this version knows: a later one wrote it"
            kind, facts = JournalFindingKind.UNKNOWN_EVENT, (said, entry.digest)
            yield JournalFinding(kind=kind, severity=Severity.UNKNOWN, text=text, objects=(entry.name,), facts=facts)


def _new_writers(entries: Iterable[Entry]) -> Iterator[JournalFinding]:
    for entry in entries:
        for event in entry.events:
            if event.kind is EventKind.SUCCEEDS and entry.is_signed:
                text = (
                    f"found {entry.name} to go on for the machine that wrote {event.name}, expected one writer a "
                    "machine: was the machine cloned, its state put back, or the store?"
                )
                kind, facts = JournalFindingKind.NEW_WRITER, (event.name, event.digest or "", entry.digest)
                yield JournalFinding(kind=kind, severity=Severity.NOTICE, text=text, objects=(entry.name,), facts=facts)
