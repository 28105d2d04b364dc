"""Two repairs exchange the same object: neither takes from the other what it had put there, wherever one is killed."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest

from caring import relative
from repair_samples import SEGMENT, WAL, damage
from repository_samples import CLUSTER, MARK
from rewriting import copy_of, make_repository, opened_again
from safepoint.repository import Repository
from safepoint.repository.care.copy import copy
from safepoint.repository.care.repair import repair
from safepoint.repository.names import WAL_PREFIX, kind_of
from safepoint.stores.faults import FaultyStore, Killed
from safepoint.stores.memory import MemoryStore
from safepoint.stores.port import Store


class Paused(FaultyStore):
    """Before one call another repair runs as a whole; before another this one is killed."""

    def __init__(self, inner: Store, *, at: int, killed_at: int, sides: tuple[Repository, Repository]) -> None:
        super().__init__(inner)
        self._call, self._killed_at, self._sides = at, killed_at, sides

    def _before(self, call: str) -> bool:
        if len(self.calls) + 1 == self._killed_at:
            raise Killed(call)
        if len(self.calls) + 1 == self._call:
            mend(*self._sides)
        return super()._before(call)


def segment_of(repository: Repository) -> str:
    """The one WAL segment's name."""
    return next(name for name in repository.store.list(WAL_PREFIX) if kind_of(name) is not None and "MB" in name)


def mend(here: Repository, sibling: Repository, store: Store | None = None, name: str = "") -> None:
    """A repair of the segment."""
    named = name or segment_of(sibling)
    repair(opened_again(here, here.store if store is None else store), copies=[opened_again(sibling)], damaged=[named])


@pytest.fixture(scope="module")
def sides() -> tuple[Repository, Repository]:
    """A repository whose one segment of WAL is damaged, and a sibling that has it."""
    repository = make_repository(MemoryStore())
    repository.put_wal_segment(CLUSTER, SEGMENT, WAL, history=b"", mark=MARK)
    sibling = relative(repository, "sibling", MemoryStore())
    copy(repository, sibling)
    assert isinstance(repository.store, MemoryStore)
    damage(repository.store, segment_of(repository))
    return repository, sibling


def test_what_one_repair_mended_another_does_not_lose(sides: tuple[Repository, Repository]) -> None:
    """Paused before any call, killed before any later one: the segment is there, or aside, and the next run ends it."""
    damaged, sibling = sides
    name = segment_of(sibling)
    counted = FaultyStore(copy_of(damaged.store))
    mend(damaged, sibling, counted)

    for at in range(1, len(counted.calls) + 1):
        for killed_at in range(at + 1, len(counted.calls) + 2):
            here = opened_again(damaged, copy_of(damaged.store))
            with contextlib.suppress(Killed):
                mend(here, sibling, Paused(here.store, at=at, killed_at=killed_at, sides=(here, sibling)))
            assert name in here.store.list(name) or any(here.store.list("tmp/repair/")), (at, killed_at)
            repair(opened_again(here))
            assert here.store.get(name) == sibling.store.get(name), (at, killed_at)


def test_what_another_run_put_aside_stays_for_a_day(sides: tuple[Repository, Repository]) -> None:
    """It may be about to delete what it had found damaged; a run that is a day old is dead."""
    damaged, sibling = sides
    name = segment_of(sibling)
    here = opened_again(damaged, copy_of(damaged.store))
    now = here.clock()
    run = f"{now:%Y%m%dT%H%M%SZ}-0123456789abcdef"
    here.store.put_if_absent(f"tmp/repair/{run}/{name}", sibling.store.get(name))

    repair(opened_again(here))
    assert (here.store.get(name), len(list(here.store.list("tmp/repair/")))) == (sibling.store.get(name), 1)

    later = Repository(here.store, here.description, here.keyring, lambda: now + timedelta(hours=25))
    repair(later)
    assert list(here.store.list("tmp/repair/")) == []


def test_a_sound_object_is_not_exchanged_for_what_lies_aside(sides: tuple[Repository, Repository]) -> None:
    """Whatever bytes are aside: nothing is deleted but what does not open."""
    damaged, sibling = sides
    name = segment_of(sibling)
    inner = MemoryStore()
    for each in sibling.store.list(name):
        inner.put_if_absent(each, sibling.store.get(each))
    inner.put_if_absent(f"tmp/repair/{name}", damaged.store.get(name))
    counted = FaultyStore(inner)

    repair(opened_again(sibling, counted))

    assert [call for call in counted.calls if call == f"delete {name}"] == []
    assert inner.get(name) == sibling.store.get(name)
