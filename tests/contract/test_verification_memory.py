"""What verifications remember, and what the next one reads by it: new things, old things, damaged things."""

from __future__ import annotations

import random
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from repository_samples import (
    NOON,
    PASSPHRASE,
    back_up,
    make_repository,
)
from safepoint import errors
from safepoint.repository import Repository, open_repository
from safepoint.repository.care.finding import FindingKind
from safepoint.repository.care.progress import Progress
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.verification_memory import RECORD_KIND, read_memory
from safepoint.repository.care.verify import verify
from safepoint.stores import FolderStore
from safepoint.stores.metering import Call, Meter, MeteredStore
from safepoint.stores.port import Data
from verified_samples import DAY, HandClock, data_pack, flip, make_healthy, only


class ReadOnlyStore(MeteredStore):
    """Somebody's whose credentials may not write."""

    def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
        """Refused."""
        raise errors.ST004.error(f"found no right to store {name} of {len(data)} bytes, expected one ({durable})")


@pytest.fixture
def clock() -> HandClock:
    """Noon, until a test moves it."""
    return HandClock()


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be copied."""
    return make_healthy(tmp_path_factory.mktemp("healthy") / "store")


@pytest.fixture
def root(healthy: Path, tmp_path: Path) -> Path:
    """A copy of it, for a test to damage."""
    shutil.copytree(healthy, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def repository(root: Path, clock: HandClock) -> Repository:
    """It, opened."""
    return open_repository(FolderStore(root), PASSPHRASE, clock=clock)


def test_what_was_verified_is_remembered_by_everybody(root: Path, repository: Repository, clock: HandClock) -> None:
    """Another machine finds nothing due at once but what was written since."""
    verify(repository, Selection.all())
    clock.now += timedelta(minutes=1)
    other = open_repository(FolderStore(root), PASSPHRASE, clock=clock)

    again = verify(other, Selection.since(DAY))

    assert again.verified <= 2  # the record of the first run, and the journal's entry of it
    assert verify(other, Selection.since(timedelta())).verified > again.verified


def test_a_nightly_run_reads_what_is_new_and_a_share_of_the_rest(repository: Repository, clock: HandClock) -> None:
    """Within a fortnight everything is read again, about a fourteenth a night."""
    everything = verify(repository, Selection.due()).verified
    verified: list[int] = []
    for _ in range(15):
        clock.now += DAY
        verified.append(verify(repository, Selection.due()).verified)

    memory = read_memory(repository)
    times = [memory.verified_at(name) for name in repository.store.list("packs/")]
    assert all(at is not None and at > NOON for at in times)
    assert max(verified) < everything


def test_damage_is_remembered_and_the_object_is_read_again_until_it_holds(
    root: Path, repository: Repository, clock: HandClock
) -> None:
    """It never counts as verified, also when it did before; repaired, it does."""
    name = data_pack(repository, "billing")
    verify(repository, Selection.all())
    flip(root / name, 100_000)
    damaged = verify(repository, Selection.all())
    clock.now += timedelta(minutes=1)

    again = verify(repository, Selection.due())
    flip(root / name, 100_000)
    repaired = verify(repository, Selection.due())

    assert [found.findings[0].objects for found in (damaged, again)] == [(name,), (name,)]
    assert damaged.remaining >= 1
    assert repaired.findings == ()
    assert read_memory(repository).verified_at(name) is not None


def test_an_interrupted_run_keeps_what_it_verified(repository: Repository) -> None:
    """The next run does not begin anew."""
    stop_after = 5

    def interrupt(progress: Progress) -> None:
        if progress.done >= stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(repository, Selection.all(), report=interrupt)

    memory = read_memory(repository)
    known = [name for name in repository.store.list("") if memory.verified_at(name) is not None]
    assert len(known) >= stop_after


def test_a_long_run_remembers_on_its_way(repository: Repository, clock: HandClock) -> None:
    """Killed without a word, it loses five minutes."""

    def wait(_: Progress) -> None:
        clock.now += timedelta(minutes=6)

    verify(repository, Selection.all(), report=wait)

    assert len(repository.records(RECORD_KIND)) > 3


def test_without_a_right_to_write_it_verifies_and_says_that_it_forgets(root: Path, clock: HandClock) -> None:
    """Reading needs no write; the result says what the next run will not know."""
    store = ReadOnlyStore(FolderStore(root), Meter())
    repository = open_repository(store, PASSPHRASE, clock=clock)

    verified = verify(repository, Selection.all())

    assert not verified.is_remembered
    assert [finding.kind for finding in verified.findings] == [FindingKind.NOT_REMEMBERED]
    assert verified.is_whole
    assert verified.remaining == 0


def test_many_records_are_summed_up_so_that_reading_them_stays_cheap(tmp_path: Path, clock: HandClock) -> None:
    """After forty runs a reader reads the newest of them, and knows all that was verified."""
    meter = Meter()
    store = MeteredStore(FolderStore(tmp_path / "store"), meter)
    repository = make_repository(store, None)
    repository = open_repository(store, None, clock=clock)
    back_up(repository, {"base/5/1": b"x" * 100_000})
    verify(repository, Selection.all())
    pack = next(iter(store.list("packs/")))
    for _ in range(40):
        clock.now += DAY
        verify(repository, Selection.sample(0.01, random.Random(1)))

    before = meter.usage().calls[Call.GET_RANGE]
    memory = read_memory(repository)

    assert memory.verified_at(pack) is not None
    assert meter.usage().calls[Call.GET_RANGE] - before < 25
    assert len(repository.records(RECORD_KIND)) > 40


def test_a_damaged_record_of_the_memory_costs_time_alone(root: Path, repository: Repository, clock: HandClock) -> None:
    """What it told of is verified again, and the record itself is found damaged."""
    verify(repository, Selection.all())
    record = next(iter(repository.store.list(f"records/{RECORD_KIND}/")))
    flip(root / record, 100)
    clock.now += timedelta(minutes=1)

    again = verify(repository, Selection.due())

    assert only(again.findings).objects == (record,)
    assert again.verified > 10
