"""What it costs to learn what can be restored: requests to the store, however much WAL there is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from coverage_samples import NOON, ONE, TWO, at, backup
from safepoint.backup.clock_steps import CLOCK_STEPS, StepWatch, read_clock_steps
from safepoint.backup.fetch_coverage import fetch_coverage
from safepoint.backup.marks import with_step
from safepoint.errors import RP005, Damaged
from safepoint.model.coverage import Mark
from safepoint.model.lsn import Lsn
from safepoint.repository import Repository, create_repository, open_repository
from safepoint.repository.care.selection import Selection
from safepoint.repository.care.verify import verify
from safepoint.stores import MemoryStore, Meter
from safepoint.stores.metering import Call, MeteredStore

PIECES = 10_000
FIRST = Lsn(1 << 20)


def many_pieces() -> tuple[Repository, Meter]:
    """A byte a piece, each with the mark of its second."""
    store, meter = MemoryStore(), Meter()
    repository = create_repository(store, None)
    for number in range(PIECES):
        start = FIRST + number
        mark = Mark(lsn=start + 1, clock=NOON + timedelta(seconds=number))
        repository.put_wal_range("7", ONE, start, b"x", history=b"", mark=mark)
    return open_repository(MeteredStore(store, meter), None), meter


def since(meter: Meter, before: Mapping[Call, int]) -> Mapping[Call, int]:
    """The calls since then."""
    return {call: count - before.get(call, 0) for call, count in meter.usage().calls.items()}


def test_ten_thousand_pieces_cost_a_hundred_short_reads() -> None:
    """And the newest instant is exact; around an instant a few more, and it is exact there."""
    repository, meter = many_pieces()
    taken = backup("b", 1, ended=0)
    instant = at(0) + timedelta(seconds=4321.5)

    before = meter.usage()
    coverage = fetch_coverage(repository, "7", [taken])
    plain = since(meter, before.calls)
    before = meter.usage()
    near = fetch_coverage(repository, "7", [taken], around=[instant])
    around = since(meter, before.calls)

    (interval,) = coverage.intervals
    assert (interval.end, interval.latest) == (FIRST + PIECES, NOON + timedelta(seconds=PIECES - 1))
    assert plain.get(Call.GET_RANGE, 0) + plain.get(Call.GET, 0) < 100
    assert around.get(Call.GET_RANGE, 0) + around.get(Call.GET, 0) < 120
    first = next(mark for mark in near.intervals[0].marks if mark.clock >= instant)
    assert first.clock == NOON + timedelta(seconds=4322)
    assert meter.usage().bytes_got < 200 * 1024


def test_what_a_verification_found_damaged_is_a_gap_until_it_is_mended() -> None:
    """Also where a short read of its head would not show it."""
    store = MemoryStore()
    repository = create_repository(store, None)
    for number in range(4):
        repository.put_wal_range("7", ONE, FIRST + 100 * number, b"%03d" % number * 33 + b"x", history=b"", mark=None)
    damaged = repository.wal_pieces("7")[2]
    whole = store.get(damaged.name)
    store.delete(damaged.name)
    store.put_if_absent(damaged.name, whole[:-3] + bytes(3))
    assert fetch_coverage(repository, "7", []).gaps == ()

    verify(repository, Selection.all())

    (gap,) = fetch_coverage(repository, "7", []).gaps
    assert (gap.start, gap.end) == (damaged.start, damaged.end)
    store.delete(damaged.name)
    store.put_if_absent(damaged.name, whole)
    assert fetch_coverage(repository, "7", []).gaps == ()


def test_a_step_is_on_record_before_the_mark_that_showed_it() -> None:
    """With the position before it, the timeline, and the latest that the clock may have said."""
    repository = create_repository(MemoryStore(), None)
    watch = StepWatch()
    watch.note("7", TWO, Mark(lsn=Lsn(500), clock=at(10)))
    watch.note("7", TWO, Mark(lsn=Lsn(600), clock=at(4), before_step=at(10.5)))

    watch.put(repository)
    watch.put(repository)

    assert read_clock_steps(repository, "7") == {TWO: (Mark(lsn=Lsn(500), clock=at(10.5)),)}
    assert read_clock_steps(repository, "8") == {}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (at(0) + timedelta(seconds=10), None),
        (at(0) + timedelta(seconds=60), None),
        (at(0) + timedelta(seconds=9.2), None),
        (at(0) + timedelta(seconds=5), at(0) + timedelta(seconds=10.3)),
        (at(-10), at(0) + timedelta(seconds=10.3)),
    ],
    ids=["as it goes", "set on", "slewed", "a little back", "far back"],
)
def test_a_clock_that_was_set_back_is_told_from_one_that_is_slewed(found: object, said: object) -> None:
    """By a clock that nobody sets, ten seconds after the mark before; also where time still seems to have gone on."""
    before = Mark(lsn=Lsn(1), clock=at(0))
    after = Mark(lsn=Lsn(2), clock=found)  # type: ignore[arg-type]

    assert with_step(before, (100.0, 100.1), after, (110.2, 110.3)).before_step == said


def test_a_record_of_a_step_that_makes_no_sense_is_damage() -> None:
    """A check tells of it; it keeps nobody from what can be restored."""
    repository = create_repository(MemoryStore(), None)
    repository.append_record(CLOCK_STEPS, {"cluster": "7", "timeline": 1, "lsn": "nowhere", "clock": "never"})

    with pytest.raises(Damaged) as caught:
        read_clock_steps(repository, "7")

    assert caught.value.spec is RP005
    assert fetch_coverage(repository, "7", []).gaps == ()
