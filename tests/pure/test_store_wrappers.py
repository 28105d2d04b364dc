"""The wrappers of the port: how often and when they try again, and what they count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safepoint import errors
from safepoint.stores import MemoryStore, Meter, NotFound, open_store
from safepoint.stores.faults import Fault, FaultyStore, Killed
from safepoint.stores.metering import Call, MeteredStore
from safepoint.stores.port import Data
from safepoint.stores.retry import RETRIED, Patience, RetryingStore, Time


class _Clock:
    """Time that only sleeping moves; every pause is as long as it may be."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    @property
    def time(self) -> Time:
        return Time(now=lambda: self.now, sleep=self.sleep, draw=lambda longest: longest)


class _Failing(MemoryStore):
    """Every get raises an error of one kind."""

    def __init__(self, spec: errors.Spec = errors.ST001) -> None:
        super().__init__()
        self.spec = spec
        self.asked = 0

    def get(self, name: str) -> bytes:
        self.asked += 1
        raise self.spec.error(f"found no answer for {name}, expected one")


def test_pauses_grow_up_to_a_bound_and_attempts_end() -> None:
    """Six attempts, five pauses, each twice the one before up to the longest; then the last error as it is."""
    inner, clock = _Failing(), _Clock()
    store = RetryingStore(inner, Patience(attempts=6, first=1, longest=5), clock.time)

    with pytest.raises(errors.Unreachable, match="found no answer for a"):
        store.get("a")

    assert (inner.asked, clock.slept) == (6, [1, 2, 4, 5, 5])


def test_no_attempt_begins_after_the_budget() -> None:
    """A pause that would end behind the budget is not slept."""
    inner, clock = _Failing(), _Clock()
    store = RetryingStore(inner, Patience(attempts=9, first=1, total=4), clock.time)

    with pytest.raises(errors.Unreachable):
        store.get("a")

    assert clock.slept == [1, 2]


@given(st.integers(1, 12), st.floats(0.01, 60), st.floats(0.01, 60))
def test_pauses_are_bounded_whatever_the_settings(attempts: int, first: float, longest: float) -> None:
    """One fewer than attempts, none beyond the longest, never shorter than the one before."""
    pauses = list(Patience(attempts=attempts, first=first, longest=longest).pauses())

    assert len(pauses) == attempts - 1
    assert all(0 < pause <= longest for pause in pauses)
    assert pauses == sorted(pauses)


def test_real_pauses_are_random_within_their_bound() -> None:
    """Full jitter: anything from nothing to the bound, so that many clients do not come back together."""
    draws = [Time().draw(2.0) for _ in range(200)]

    assert all(0 <= draw <= 2 for draw in draws)
    assert max(draws) - min(draws) > 1


@pytest.mark.parametrize("spec", [spec for spec in errors.REGISTRY if spec.code[:2] == "ST" and spec.code != "ST001"])
def test_only_what_may_pass_is_tried_again(spec: errors.Spec) -> None:
    """Every other error of a store is raised at once."""
    inner, clock = _Failing(spec), _Clock()

    with pytest.raises(errors.SafepointError) as caught:
        RetryingStore(inner, clock=clock.time).get("a")

    assert (caught.value.spec, inner.asked, clock.slept) == (spec, 1, [])
    assert not RETRIED.get(spec, False)


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.LOST_ANSWER])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6])
def test_every_call_survives_one_fault(fault: Fault, at: int) -> None:
    """With or without effect, the answer is what it would have been without the fault."""
    faulty = FaultyStore(MemoryStore(), fault, at=at)
    store = RetryingStore(faulty, clock=_Clock().time)

    answers = (
        store.put_if_absent("a/b", b"data"),
        store.get("a/b"),
        store.get_range("a/b", 1, 2),
        store.size("a/b"),
        list(store.list("a")),
        store.delete("a/b"),
    )

    assert answers == (True, b"data", b"at", 4, ["a/b"], None)
    assert list(store.list("")) == []
    assert len(faulty.calls) > 7


def test_a_put_repeated_after_another_writer_won_says_false() -> None:
    """Only the very bytes of this put are taken for its own first attempt."""
    inner = MemoryStore()
    inner.put_if_absent("a", b"their")
    faulty = FaultyStore(inner, Fault.FAIL, at=1)

    assert RetryingStore(faulty, clock=_Clock().time).put_if_absent("a", b"ours!") is False


def test_a_put_repeated_onto_a_name_that_vanished_says_false() -> None:
    """Taken at the second attempt and gone when looked at: nobody knows whose it was, so it is not claimed."""

    class Vanishing(MemoryStore):
        attempts = 0

        def put_if_absent(self, name: str, data: Data, *, durable: bool = True) -> bool:
            del name, data, durable
            self.attempts += 1
            if self.attempts == 1:
                raise errors.ST001.error("found no answer, expected one")
            return False

    assert RetryingStore(Vanishing(), clock=_Clock().time).put_if_absent("a", b"x") is False


def test_a_delete_of_nothing_is_told_so_at_the_first_attempt() -> None:
    """Only after a failure is absence the proof of success."""
    with pytest.raises(NotFound):
        RetryingStore(MemoryStore()).delete("a")


def test_a_barrier_gets_one_attempt() -> None:
    """What a failed sync dropped does not come back by asking again."""
    faulty = FaultyStore(MemoryStore(), Fault.FAIL, at=1)

    with pytest.raises(errors.Unreachable):
        RetryingStore(faulty, clock=_Clock().time).barrier()

    assert faulty.calls == ["barrier"]


def test_death_is_not_tried_again() -> None:
    """A killed process makes no second attempt."""
    with pytest.raises(Killed):
        RetryingStore(FaultyStore(MemoryStore(), Fault.KILL, at=1)).get("a")


def test_a_meter_counts_calls_and_the_bytes_they_moved() -> None:
    """Calls by kind, failed ones too; bytes only of what succeeded."""
    meter = Meter()
    store = MeteredStore(MemoryStore(), meter)
    store.put_if_absent("a", b"12345")
    store.put_if_absent("a", b"123")
    store.get("a")
    store.get_range("a", 0, 2)
    store.size("a")
    list(store.list(""))
    store.barrier()
    store.delete("a")
    with pytest.raises(NotFound):
        store.get("a")

    usage = meter.usage()

    assert usage.calls == {**dict.fromkeys(Call, 1), Call.PUT: 2, Call.GET: 2}
    assert (usage.bytes_put, usage.bytes_got) == (8, 7)


def test_open_store_counts_when_it_is_given_a_meter() -> None:
    """One meter may serve several stores."""
    meter = Meter()
    for _ in range(2):
        open_store("memory:", meter=meter).put_if_absent("a", b"x")

    assert (meter.usage().calls, meter.usage().bytes_put) == ({Call.PUT: 2}, 2)
