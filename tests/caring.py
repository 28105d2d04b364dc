"""A repository with something of everything in it, what becomes of it, and what must be true at any time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from repository_samples import CHEAP, CLUSTER, MARK, MEBIBYTE, PASSPHRASE, TIMELINE, back_up, wal_bytes
from rewriting import (
    History,
    copy_of,
    large_files,
    make_repository,
    must_hold,
    opened_again,
    write_history,
)
from safepoint.model.lsn import TimelineId, WalSegment
from safepoint.model.secret import Secret
from safepoint.repository import Repository, create_repository, open_repository
from safepoint.repository.care.check import check
from safepoint.repository.care.collect import collect
from safepoint.repository.care.collection_values import Collected
from safepoint.repository.care.finding import Finding, FindingKind
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.verify import verify
from safepoint.repository.commit.leases import open_leases
from safepoint.repository.opening import open_keys
from safepoint.repository.sealing.key_changes import rotate
from safepoint.stores import Store
from safepoint.stores.faults import Fault, FaultyStore, Killed

SEGMENT = WalSegment(TIMELINE, 40, MEBIBYTE)
WAL = wal_bytes()
TIMELINE_HISTORY = b"1\t0/3000000\tno recovery target specified\n"
OTHER = Secret("the other repository's own passphrase")
KINDS = ["sibling", "stranger"]

_EVERY_CALL = os.environ.get("SAFEPOINT_KILLS") == "all"
_STRIDE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A repository, and what its backups hold."""

    repository: Repository
    history: History

    @property
    def store(self) -> Store:
        """Where it lies."""
        return self.repository.store

    def again(self, store: Store | None = None) -> Repository:
        """It, as another process opens it, maybe through another store."""
        return opened_again(self.repository, store)


def furnished(store: Store, *, backups: int = 3, pages: int = 14) -> Life:
    """An encrypted repository with backups, WAL, the history of a timeline and a record."""
    repository = make_repository(store)
    history = write_history(repository, backups, pages=pages)
    repository.put_wal_segment(CLUSTER, SEGMENT, WAL, history=b"", mark=MARK)
    repository.put_wal_range(CLUSTER, TIMELINE, SEGMENT.end, WAL[:8192], history=b"", mark=None)
    repository.put_history(CLUSTER, TimelineId(2), TIMELINE_HISTORY)
    repository.append_record("drill", {"database": "shop", "seconds": 1.5})
    return Life(repository=repository, history=history)


def collected(repository: Repository, *, force: bool = False) -> Collected:
    """What a collection by another process did."""
    return collect(opened_again(repository), force=force)


def wasteful(store: Store) -> Life:
    """A repository whose only backup needs a part of a pack that an expired one filled."""
    repository = make_repository(store)
    source = {f"base/5/{number}": large_files(number, 5)["base/5/1"] for number in range(10)}
    first = back_up(repository, source, "b0", age=2)
    kept = {path: source[path] for path in ("base/5/3", "base/5/4")}
    back_up(repository, kept, "b1", parent=first)
    repository.expire_backup("b0", reason="a test")
    collected(repository)
    return Life(repository=repository, history={"b1": kept})


def relative(repository: Repository, kind: str, store: Store) -> Repository:
    """A new repository in the store, a `sibling` of this one or a `stranger` to it."""
    opened = open_keys(repository.store, PASSPHRASE) if kind == "sibling" else None
    return create_repository(store, OTHER, cost=CHEAP, sibling_of=opened)


def rotated(repository: Repository) -> Repository:
    """It, opened again after a newer generation of keys was made for all its slots."""
    opened = open_keys(repository.store, PASSPHRASE)
    assert opened.slot is not None
    rotate(repository.store, opened, slots=[opened.slot], clock=repository.clock)
    return open_repository(repository.store, PASSPHRASE)


def spoil(store: Store, names: Iterable[str]) -> list[str]:
    """One bit of every 100 bytes behind the headers of these objects is another; the names."""
    spoiled = list(names)
    for name in spoiled:
        data = bytearray(store.get(name))
        for position in range(60, len(data), 100):
            data[position] ^= 1
        store.delete(name)
        store.put_if_absent(name, bytes(data))
    return spoiled


def defects(repository: Repository) -> Sequence[Finding]:
    """What a check by another process calls damaged or unknown."""
    return [finding for finding in check(opened_again(repository)).findings if finding.severity.value != "notice"]


def must_be_sound(repository: Repository, history: History) -> None:
    """These backups alone are listed, each reads back byte for byte, and a check finds nothing damaged or unknown."""
    must_hold(repository, history)
    found = defects(repository)
    assert not found, "\n".join(each.text for each in found)


def must_be_unharmed(repository: Repository, history: History) -> None:
    """As `must_be_sound`, but a manifest may wait for the end of the lease of who died."""
    must_hold(repository, history)
    found = [each for each in defects(repository) if each.kind is not FindingKind.UNDECIDED_MANIFEST]
    assert not found, "\n".join(each.text for each in found)


def must_hold_wal(repository: Repository) -> None:
    """What `furnished` put beside the backups reads back."""
    pieces = repository.wal_pieces(CLUSTER)
    assert [repository.read_wal(piece) for piece in pieces] == [WAL, WAL[:8192]]
    assert repository.read_mark(pieces[0]) == MARK
    assert repository.read_history(CLUSTER, TimelineId(2)) == TIMELINE_HISTORY
    assert [record["seconds"] for record in repository.records("drill")] == [1.5]


def must_be_verified(repository: Repository) -> None:
    """Every byte of every object is what was sealed."""
    verified = verify(opened_again(repository), Selection.all())
    assert verified.findings == ()
    assert verified.verified > 0


def must_end_tidy(repository: Repository) -> None:
    """A collection, by force, ends with no lease open and no pack that nobody needs."""
    collected(repository, force=True)
    assert open_leases(repository.store, repository.keyring) == ()
    assert check(opened_again(repository)).orphan_packs == 0


def died_everywhere(store: Store, work: Callable[[Store], object], check: Callable[[Store], None]) -> int:
    """The work dies at its first, second, … call, each time on a copy of the store; `check` looks at what is left.

    By a kill, and once more by a power cut wherever something was not durable yet. In the default suite each fault
    meets every third call, the two at different ones; `make campaign-kills` has both at all. Returns how many calls
    the work makes.
    """
    for at in count(1):
        for number, fault in enumerate((Fault.KILL, Fault.POWER_CUT)):
            if not _EVERY_CALL and at % _STRIDE != number:
                continue
            left = copy_of(store)
            faulty = FaultyStore(left, fault, at=at)
            try:
                work(faulty)
            except Killed:
                if fault is Fault.KILL or faulty._volatile:
                    check(left)
            if len(faulty.calls) < at:
                return len(faulty.calls)
    raise AssertionError
