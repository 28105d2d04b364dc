"""How fast a backup may read."""

from __future__ import annotations

import pytest

from safepoint.backup.rate_limit import RateLimit
from safepoint.backup.sources.meter import Meter
from safepoint.backup.sources.port import TELL_BYTES


class Time:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        """That much later."""
        assert seconds > 0
        self.now += seconds


def test_after_the_first_second_the_rate_is_kept() -> None:
    """1,000 bytes at 100 a second take 9 seconds: one second's worth may be read at once."""
    time = Time()
    limit = RateLimit(100, clock=lambda: time.now, sleep=time.sleep)

    for _ in range(100):
        limit.spent(10)

    assert time.now == pytest.approx(9.0)


def test_a_pause_does_not_save_up_more_than_a_second() -> None:
    """After an hour of waiting for the server no hour's worth is read at once."""
    time = Time()
    limit = RateLimit(100, clock=lambda: time.now, sleep=time.sleep)
    time.now = 3600.0

    limit.spent(300)

    assert time.now == pytest.approx(3602.0)


def test_without_a_rate_nobody_waits() -> None:
    """As fast as it goes."""
    RateLimit(None, sleep=lambda _: pytest.fail("slept")).spent(1 << 40)


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_of_nothing_is_refused(rate: int) -> None:
    """It would never end."""
    with pytest.raises(ValueError, match="more than 0"):
        RateLimit(rate)


def test_a_meter_tells_every_few_megabytes_and_at_the_end() -> None:
    """What was read and what need not be read both count; never backwards."""
    told: list[int] = []
    meter = Meter(RateLimit(None), told.append)

    meter.add(TELL_BYTES - 1)
    meter.then(lambda _, __: None)(memoryview(b"12"), 0)
    meter.reached(3 * TELL_BYTES)
    meter.reached(1)
    meter.finish()

    assert told == [TELL_BYTES + 1, 3 * TELL_BYTES, 3 * TELL_BYTES]
