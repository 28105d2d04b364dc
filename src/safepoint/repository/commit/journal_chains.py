"""Whether the chains of a journal are whole: judged from entries and from what is known of how far they went.

Pure. Every writer's entries are 1, 2, 3 …: each names the digest of the one before, is signed by the key that the
writer is named for, and tells how far the other writers had come. A chain is whole up to the greatest sequence that is
listed, told by an entry whose signature holds, or remembered by this machine.

A journal grows while it is read. So it is read twice: the first reading says how far each chain goes at least, the
second what is there. An entry that is put between the two is no gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from safepoint.repository.commit.journal_entry import FIRST_SEQUENCE, NO_ENTRY, Entry, Unreadable
from safepoint.repository.commit.journal_finding import JournalFinding, JournalFindingKind, Severity
from safepoint.repository.commit.journal_state import Head, JournalState, greatest
from safepoint.repository.names import entry_name

_MOST_NAMES = 20

Read = Entry | Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chain:
    """What is known of one writer's chain."""

    writer: str
    entries: Mapping[int, Read]
    listed: int
    """The last sequence of the first reading."""
    told: int
    """The last that another writer's entry names."""
    seen: int
    """The last that this machine ever saw."""
    verified: Head | None

    @property
    def remembered(self) -> int:
        """The last that this machine knows of."""
        return max(self.seen, self.verified.sequence if self.verified else 0)

    @property
    def due(self) -> int:
        """How far the chain goes at least. An entry beyond was put while the journal was read."""
        return max(self.listed, self.told, self.remembered)


def judge_chains(first: Sequence[Read], second: Sequence[Read], state: JournalState) -> tuple[JournalFinding, ...]:
    """Everything that is wrong with the chains; nothing when they are whole as far as anybody here knows."""
    return tuple(finding for chain in _chains(first, second, state) for finding in _judge(chain))


def judge_elsewhere(
    first: Sequence[Read], state: JournalState, elsewhere: Mapping[str, int]
) -> Iterator[JournalFinding]:
    """Notices of chains that ended later in another store of this repository: this one is an older copy of it."""
    told = told_heads(first)
    for writer, listed in listed_heads(first).items():
        known = max(listed, told.get(writer, 0), state.seen.get(writer, 0))
        if elsewhere.get(writer, 0) > known:
            text = (
                f"found the journal of writer {writer} to end with {_span(known, known)}, expected "
                f"{_span(known + 1, elsewhere[writer])}, which this machine has seen in another store: is this a copy?"
            )
            kind, objects = JournalFindingKind.ROLLED_BACK, (entry_name(writer, known + 1),)
            yield JournalFinding(kind=kind, severity=Severity.NOTICE, text=text, objects=objects, facts=("elsewhere",))


def whole_heads(first: Sequence[Read], second: Sequence[Read], state: JournalState) -> dict[str, Head]:
    """By writer, the end of each chain with which nothing is wrong: what a machine may remember as verified."""
    heads: dict[str, Head] = {}
    for chain in _chains(first, second, state):
        last = chain.entries.get(chain.listed)
        if isinstance(last, Entry) and not any(True for _ in _judge(chain)):
            heads[chain.writer] = Head(sequence=last.sequence, digest=last.digest)
    return heads


def told_heads(entries: Iterable[Read]) -> dict[str, int]:
    """By writer, the last sequence that an entry of another writer names and signs."""
    told: dict[str, int] = {}
    for entry in entries:
        if isinstance(entry, Entry) and entry.is_signed:
            for writer, head in entry.heads.items():
                if writer != entry.writer:
                    told[writer] = max(head, told.get(writer, 0))
    return told


def listed_heads(entries: Iterable[Read]) -> dict[str, int]:
    """By writer, the last sequence that is there."""
    heads: dict[str, int] = {}
    for entry in entries:
        heads[entry.writer] = max(entry.sequence, heads.get(entry.writer, 0))
    return heads


def _chains(first: Sequence[Read], second: Sequence[Read], state: JournalState) -> Iterator[_Chain]:
    listed, told = listed_heads(first), told_heads(first)
    by_writer: dict[str, dict[int, Read]] = {}
    for entry in (*first, *second):
        by_writer.setdefault(entry.writer, {})[entry.sequence] = entry
    for writer in greatest(greatest(listed, told), greatest(state.seen, _sequences(state.verified))):
        yield _Chain(
            writer=writer,
            entries=by_writer.get(writer, {}),
            listed=listed.get(writer, 0),
            told=told.get(writer, 0),
            seen=state.seen.get(writer, 0),
            verified=state.verified.get(writer),
        )


def _sequences(heads: Mapping[str, Head]) -> dict[str, int]:
    return {writer: head.sequence for writer, head in heads.items()}


def _judge(chain: _Chain) -> Iterator[JournalFinding]:
    yield from _unreadable(chain)
    yield from _missing_links(chain)
    yield from _missing_tail(chain)
    yield from _wrong_signatures(chain)
    yield from _broken_links(chain)
    yield from _replaced(chain)


def _within(chain: _Chain) -> Iterator[Read]:
    return (chain.entries[sequence] for sequence in sorted(chain.entries) if sequence <= chain.due)


def _unreadable(chain: _Chain) -> Iterator[JournalFinding]:
    for entry in _within(chain):
        if isinstance(entry, Unreadable):
            yield _unknown(JournalFindingKind.UNREADABLE_ENTRY, entry.because, [entry.sequence], chain, entry.digest)


def _missing_links(chain: _Chain) -> Iterator[JournalFinding]:
    """A name may claim any sequence, so a gap can be huge: only its ends are looked at."""
    before = FIRST_SEQUENCE - 1
    for sequence in (entry.sequence for entry in _within(chain)):
        if sequence > before + 1:
            text = f"found entry {sequence} of writer {chain.writer} and not {_span(before + 1, sequence - 1)}"
            expected = "expected every entry from 1: somebody deleted or hides what they say"
            missing = range(before + 1, sequence)
            yield _unknown(JournalFindingKind.MISSING_LINK, f"{text}, {expected}", missing, chain)
        before = sequence


def _missing_tail(chain: _Chain) -> Iterator[JournalFinding]:
    """What others told weighs more than what is remembered: anybody else can see it, too."""
    there = max((entry.sequence for entry in _within(chain)), default=0)
    last = f"found the journal of writer {chain.writer} to end with {_span(there, there) if there else 'nothing'}"
    if chain.told > there:
        text = f"{last}, expected {_span(there + 1, chain.told)}, which another writer has seen"
        yield _unknown(JournalFindingKind.CUT_TAIL, text, range(there + 1, chain.told + 1), chain)
    known = max(there, chain.told)
    if chain.remembered > known:
        text = f"{last}, expected {_span(known + 1, chain.remembered)}, which this machine has seen"
        yield _unknown(JournalFindingKind.ROLLED_BACK, text, range(known + 1, chain.remembered + 1), chain)


def _wrong_signatures(chain: _Chain) -> Iterator[JournalFinding]:
    for entry in _within(chain):
        if isinstance(entry, Entry) and not entry.is_signed:
            text = f"found {entry.name} signed by another key, expected that of writer {chain.writer}"
            yield _unknown(JournalFindingKind.WRONG_SIGNATURE, text, [entry.sequence], chain, entry.digest)


def _broken_links(chain: _Chain) -> Iterator[JournalFinding]:
    for entry in _within(chain):
        before = chain.entries.get(entry.sequence - 1)
        if not isinstance(entry, Entry) or isinstance(before, Unreadable):
            continue
        expected = NO_ENTRY if entry.sequence == FIRST_SEQUENCE else before.digest if before else None
        if expected is not None and entry.previous != expected:
            text = f"found {_digest(expected)} before {entry.name}, expected {_digest(entry.previous)} as it says"
            affected = [entry.sequence - 1, entry.sequence] if before else [entry.sequence]
            facts = (expected, entry.previous, entry.digest)
            yield _unknown(JournalFindingKind.BROKEN_CHAIN, text, affected, chain, *facts)


def _replaced(chain: _Chain) -> Iterator[JournalFinding]:
    head = chain.verified
    found = None if head is None else chain.entries.get(head.sequence)
    if head is None or not isinstance(found, Entry) or found.digest == head.digest:
        return
    text = (
        f"found {_digest(found.digest)} as {found.name}, expected {_digest(head.digest)}, which this machine verified"
    )
    yield _unknown(JournalFindingKind.REPLACED_ENTRY, text, [head.sequence], chain, found.digest, head.digest)


def _digest(digest: str) -> str:
    return f"the digest {digest[:16]}" if digest else "no entry"


def _span(first: int, last: int) -> str:
    return f"entry {first}" if first == last else f"entries {first} to {last}"


def _unknown(
    kind: JournalFindingKind, text: str, sequences: Sequence[int], chain: _Chain, *digests: str
) -> JournalFinding:
    names = tuple(entry_name(chain.writer, sequence) for sequence in sequences[:_MOST_NAMES])
    facts = (chain.writer, str(sequences[0]), str(sequences[-1]), *digests)
    return JournalFinding(kind=kind, severity=Severity.UNKNOWN, text=text, objects=names, facts=facts)
